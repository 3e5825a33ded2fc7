import t from 'tap'
import { accountFaults } from '../support/account-faults.ts'
import { chat, chatStream } from '../support/answers.ts'
import { json } from '../support/behaviour.ts'
import { bearer, credits, post } from '../support/client.ts'
import { startJourney, waitForRow } from '../support/journey.ts'

// A provider whose account is at fault rests: each fault has its own.
const faults = Object.entries(accountFaults)
const names = faults.flatMap((_, index) => [`plain${index}`, `stream${index}`, `alone${index}`])
const { gateway, providers, token } = await startJourney(t, {
  providers: ['well', 'other', ...names],
  models: Object.fromEntries([
    ...names.map((name) => [
      name,
      { plan: [{ provider: name }, ...(name.startsWith('alone') ? [] : [{ provider: 'well' }])] },
    ]),
    ['own', { plan: [{ provider: 'other' }, { provider: 'well' }] }],
  ]),
})
const auth = bearer(token)
const messages = [{ role: 'user', content: 'hi' }]
const ask = (model: string, stream = false) =>
  post(gateway, '/v1/chat/completions', { model, stream, max_tokens: 50, messages }, auth)

for (const [index, [name, fault]] of faults.entries())
  t.test(
    `a fault of our account goes to the next of the plan, and is shown to nobody: ${name}`,
    async (t) => {
      for (const [model, stream, answer] of [
        [`plain${index}`, false, chat()],
        [`stream${index}`, true, chatStream()],
      ] as const) {
        providers[model]?.queue(fault())
        providers.well?.queue(answer)
        const reply = await ask(model, stream)
        t.match(reply, { status: 200, headers: { 'x-gateway-provider': 'well', 'x-gateway-attempts': '2' } })
        t.match(await waitForRow(gateway, String(reply.headers['x-request-id'])), {
          provider: 'well',
          attempts: 2,
        })
        providers.well?.queue(chat())
        t.match(await ask(model), { headers: { 'x-gateway-attempts': '1' } }, 'it rests, for everybody')
      }
      const before = await credits(gateway, token)
      providers[`alone${index}`]?.queue(fault())
      const refused = await ask(`alone${index}`)
      t.match(refused, { status: 502 })
      t.match(refused.json(), { error: { code: 'upstream_failed' } })
      t.notMatch(refused.text, /key|credit|quota|billing|limit/i)
      t.same(await credits(gateway, token), before, 'nothing is charged, nothing stays held')
    },
  )

t.test("a client's own fault stays its own, and the provider well", async (t) => {
  const message = "Invalid value: 'Your credit balance is too low'."
  const error = { message, type: 'invalid_request_error', param: 'model', code: null }
  for (let round = 0; round < 3; round++) {
    providers.other?.queue(json({ error }, { status: 400 }))
    const reply = await ask('own')
    t.match(reply, { status: 400, headers: { 'x-gateway-provider': 'other', 'x-gateway-attempts': '1' } })
    t.same(reply.json(), { error })
  }
})
