import t from 'tap'
import { bearer, get, post } from '../support/client.ts'
import { mintToken, startGateway, type TokenOptions } from '../support/gateway.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { type FakeProvider, startProvider } from '../support/provider.ts'

/** A gateway without a models file, whose providers have their keys and are known by name. */
async function openBuiltin(...names: readonly string[]) {
  const providers: Record<string, FakeProvider> = {}
  const env: Record<string, string> = { RATE_LIMIT_PER_MINUTE: '100000' }
  for (const name of names) {
    const provider = await startProvider(t)
    providers[name] = provider
    env[`${name}_API_KEY`] = `sk-${name}-0123456789`
    env[`${name}_BASE_URL`] = provider.url
  }
  const gateway = await startGateway(t, { env })
  const seen = () =>
    Object.entries(providers).flatMap(([name, { requests }]) =>
      requests.splice(0).map((request) => `${name.toLowerCase()} ${request.json().model}`),
    )
  const token = await mintToken(t, gateway)
  const ask = (path: string, model: string, secret = token) =>
    post(gateway, path, { model, max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] }, bearer(secret))
  const mint = (options: TokenOptions) => mintToken(t, gateway, options)
  return { gateway, seen, ask, mint }
}

t.test('a name that is not listed goes to its maker, in both dialects', async (t) => {
  const { ask, seen } = await openBuiltin('OPENAI_ORIGINAL', 'ANTHROPIC', 'GEMINI', 'MISTRAL')
  const table: [string, string, string][] = [
    ['/v1/messages', 'claude-opus-9', 'anthropic claude-opus-9'],
    ['/v1/chat/completions', 'claude-opus-9', 'anthropic claude-opus-9'],
    ['/v1/messages', 'claude-haiku-4-5-20251001', 'anthropic claude-haiku-4-5-20251001'],
    ['/v1/messages', 'anthropic/claude-sonnet-5', 'anthropic claude-sonnet-5'],
    ['/v1/messages', 'nobody-knows-it', 'anthropic nobody-knows-it'],
    ['/v1/chat/completions', 'nobody-knows-it', 'openai_original nobody-knows-it'],
    ['/v1/chat/completions', 'gemini-9-pro', 'gemini gemini-9-pro'],
    ['/v1/chat/completions', 'google/gemini-9-pro', 'gemini gemini-9-pro'],
    ['/v1/chat/completions', 'magistral-small-2509', 'mistral magistral-small-2509'],
    ['/v1/chat/completions', 'mistral-large-2411', 'mistral mistral-large-2411'],
    ['/v1/chat/completions', 'gpt-4o-2024-08-06', 'openai_original gpt-4o-2024-08-06'],
    ['/v1/chat/completions', 'gpt-4o-latest', 'openai_original gpt-4o'],
    ['/v1/embeddings', 'mistral-embed-2312', 'mistral mistral-embed-2312'],
  ]
  for (const [path, model, asked] of table) {
    const reply = await ask(path, model)
    t.equal(reply.status, 200, `${path} ${model}: ${reply.text.slice(0, 200)}`)
    t.same(seen(), [asked], `${path} ${model}`)
  }
  const refused = await ask('/v1/messages', 'gemini-9-pro')
  t.equal(refused.status, 404)
  t.same(seen(), [], 'its maker does not speak Messages')
})

t.test('slugs and makers without a key go to OpenRouter, where it has one', async (t) => {
  const { ask, seen, mint } = await openBuiltin('OPENAI_ORIGINAL', 'OPENROUTER')
  for (const [model, asked] of [
    ['claude-opus-9-1', 'openrouter anthropic/claude-opus-9.1'],
    ['anthropic/claude-opus-9', 'openrouter anthropic/claude-opus-9'],
    ['qwen/qwen9-coder', 'openrouter qwen/qwen9-coder'],
    ['openai/gpt-9', 'openai_original gpt-9'],
  ] as const) {
    t.equal((await ask('/v1/chat/completions', model)).status, 200, model)
    t.same(seen(), [asked], model)
  }
  const limited = await mint({ models: 'gpt-4o' })
  t.equal((await ask('/v1/chat/completions', 'gpt-4o-2024-08-06', limited)).status, 200)
  t.equal((await ask('/v1/chat/completions', 'openai/gpt-4o', limited)).status, 200)
  t.same(seen(), ['openai_original gpt-4o-2024-08-06', 'openai_original gpt-4o'])
  for (const model of ['gpt-9', 'openai/gpt-9', 'gpt-4o-mini-2024-08-06', 'claude-opus-9'])
    t.equal((await ask('/v1/chat/completions', model, limited)).status, 403, model)
  t.same(seen(), [])
})

t.test('a pattern of the models file has a plan and a price of its own, and is not listed', async (t) => {
  const { gateway, providers, token } = await startJourney(t, {
    providers: ['one', 'two'],
    models: {
      'claude-sonnet-5': { plan: [{ provider: 'one' }], price: { input: 1, output: 100 } },
      'claude-*': { plan: [{ provider: 'two', model: 'up/claude-*' }], price: { input: 1, output: 10 } },
      '*': { plan: [{ provider: 'one' }], price: { input: 0, output: 1 } },
    },
  })
  const charged = async (model: string) => {
    const body = { model, max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] }
    const reply = await post(gateway, '/v1/chat/completions', body, bearer(token))
    if (reply.status !== 200) return reply.status
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    const { usage } = reply.json()
    return { used: row.model_used, rate: Number(row.cost_micros) / 1e6 - usage.prompt_tokens, usage }
  }
  const plain = await charged('gpt-9')
  t.match(plain, { used: 'gpt-9' })
  const opus = await charged('claude-opus-9')
  t.match(opus, { used: 'up/claude-opus-9' })
  t.match(await charged('claude-sonnet-5-20260929'), { used: 'claude-sonnet-5-20260929' })
  if (typeof opus === 'number') return t.fail(`answered ${opus}`)
  t.equal(opus.rate, opus.usage.completion_tokens * 10)
  t.equal(await charged('Claude-opus-9'), 404)
  t.equal(providers.two.requests.length, 1)
  const { data } = (await get(gateway, '/v1/models', bearer(token))).json()
  t.same(
    data.map(({ id }: { id: string }) => id),
    ['claude-sonnet-5'],
  )
})
