import t from 'tap'
import { json } from '../support/behaviour.ts'
import { bearer, credits, post } from '../support/client.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney, waitForRow } from '../support/journey.ts'

const plan = [{ provider: 'one' }]
const { gateway, providers } = await startJourney(t, {
  providers: ['one'],
  models: { m: { plan }, 'gpt-4o': { plan } },
})
const { one } = providers
const prompts = Array.from({ length: 100 }, () => 'p')
const ranked = { query: 'what of it '.repeat(30), documents: Array.from({ length: 700 }, () => 'x') }

/** What is asked at a balance that does not cover it, and what a provider would report. */
const uncovered: Record<string, [path: string, body: object, credits: number]> = {
  'a hundred prompts': ['/v1/completions', { prompt: prompts, max_tokens: 100 }, 1000],
  'the best of twenty': ['/v1/completions', { prompt: 'p', best_of: 20, max_tokens: 100 }, 1000],
  'prompts in LLM tokens': [
    '/v1/completions',
    { prompt: prompts.map((_, id) => [id]), max_tokens: 100, n: 2 },
    1000,
  ],
  'a ranking': ['/v1/rerank', ranked, 2000],
  'embeddings of lists': [
    '/v1/embeddings',
    { input: prompts.map((_, id) => Array.from({ length: 90 }, () => id)) },
    2000,
  ],
  'answers with tools and sound': [
    '/v1/chat/completions',
    {
      messages: [{ role: 'user', content: 'hi' }],
      modalities: ['text', 'audio'],
      audio: { voice: 'alloy', format: 'wav' },
      tools: [{ type: 'function', function: { name: 'f' } }],
      n: 100,
      max_tokens: 100,
    },
    1000,
  ],
}

for (const [name, [path, body, balance]] of Object.entries(uncovered))
  t.test(`refused in full, and nobody is asked: ${name}`, async (t) => {
    const token = await mintToken(t, gateway, { credits: balance })
    const before = one.requests.length
    const reply = await post(gateway, path, { model: 'm', ...body }, bearer(token))
    t.equal(reply.status, 429)
    t.match(reply.json().error, {
      code: 'insufficient_quota',
      message: /may cost \d+ credits while \d+ are free/,
    })
    t.equal(one.requests.length, before)
    t.match(await credits(gateway, token), { balance, held: 0, charged: 0 })
  })

t.test('the same is served where it is covered', async (t) => {
  const token = await mintToken(t, gateway, { credits: 400_000 })
  for (const [path, body] of Object.values(uncovered)) {
    one.queue(json({ choices: [], data: [], results: [], usage: { prompt_tokens: 5, completion_tokens: 5 } }))
    const reply = await post(gateway, path, { model: 'm', ...body }, bearer(token))
    t.equal(reply.status, 200, path)
    await waitForRow(gateway, String(reply.headers['x-request-id']))
  }
  t.match(await credits(gateway, token), { held: 0 })
})

t.test('a long English text is refused by its LLM tokens, not by its bytes', async (t) => {
  const content = 'The river bends twice before it meets the old stone bridge. '.repeat(200)
  const body = { model: 'gpt-4o', max_tokens: 100, messages: [{ role: 'user', content }] }
  const rich = await mintToken(t, gateway, { credits: 3000 })
  one.queue(
    json({ choices: [{ message: { content: 'a' } }], usage: { prompt_tokens: 2400, completion_tokens: 1 } }),
  )
  const served = await post(gateway, '/v1/chat/completions', body, bearer(rich))
  t.equal(served.status, 200)
  t.equal((await waitForRow(gateway, String(served.headers['x-request-id']))).charged_micros, 2401e6)
  const poor = await mintToken(t, gateway, { credits: 2000 })
  const refused = await post(gateway, '/v1/chat/completions', body, bearer(poor))
  t.equal(refused.status, 429)
  const cost = Number(/may cost (\d+) credits/.exec(refused.json().error.message)?.[1])
  t.ok(cost > 2400 && cost < 3000, `${cost} by its count`)
})
