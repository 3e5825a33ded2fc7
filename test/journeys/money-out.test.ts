import t from 'tap'
import { bearer, post } from '../support/client.ts'
import { startJourney } from '../support/journey.ts'

const { gateway, token } = await startJourney(t, {
  providers: ['one', 'two'],
  entries: { two: { dialect: 'anthropic' } },
  models: { m: { plan: [{ provider: 'one' }] }, claude: { plan: [{ provider: 'two' }] } },
  token: { credits: 10 },
})
const messages = [{ role: 'user', content: 'hello '.repeat(100) }]

t.test("an empty balance is told in each client's own words, and nobody asks again", async (t) => {
  const chat = await post(gateway, '/v1/chat/completions', { model: 'm', messages }, bearer(token))
  t.match(chat, { status: 429, headers: { 'x-should-retry': 'false', 'retry-after': undefined } })
  t.match(chat.json(), { error: { type: 'insufficient_quota', code: 'insufficient_quota' } })
  for (const stream of [false, true]) {
    const body = { model: 'claude', messages, max_tokens: 100, stream }
    const agent = await post(gateway, '/v1/messages', body, bearer(token))
    t.match(agent, { status: 402, headers: { 'x-should-retry': 'false', 'retry-after': undefined } })
    t.match(agent.json(), { type: 'error', error: { type: 'billing_error' } })
  }
})
