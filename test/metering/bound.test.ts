import fc from 'fast-check'
import t from 'tap'
import type { Price } from '../../src/config/catalog/catalog.ts'
import { ENDPOINTS } from '../../src/dialects/endpoints.ts'
import { NO_USAGE } from '../../src/dialects/usage.ts'
import { countInput } from '../../src/metering/estimate.ts'
import { inputBound } from '../../src/metering/input-bound.ts'
import { costMicros, leastMicros, worstCaseMicros } from '../../src/metering/price.ts'
import { readJsonAsk, wholeOf } from '../../src/request/json-ask.ts'

const PRICE: Price = {
  inputMicros: 3,
  cachedInputMicros: 1,
  outputMicros: 7,
  perSecondMicros: 0,
  perCharacterMicros: 0,
  perImageMicros: 0,
}
const MAX_OUTPUT = 500
const long = {
  inTurns: async (step: () => boolean) => {
    while (!step());
  },
  refuse: () => undefined,
}

function read(path: string, body: object) {
  const endpoint = ENDPOINTS.find((each) => each.path === path)
  if (!endpoint) throw new Error(`no endpoint ${path}`)
  return readJsonAsk(endpoint, wholeOf([Buffer.from(JSON.stringify(body))]), long)
}

/** The worst tokenizer there is: a token for each byte of what a model reads. */
const bytes = (text: unknown) => Buffer.byteLength(typeof text === 'string' ? text : JSON.stringify(text))
const sum = (counts: number[]) => counts.reduce((all, one) => all + one, 0)

interface Asked {
  path: string
  body: object
  /** What a fake provider charges for at most: LLM tokens read and written. */
  bill: { input: number; output: number }
}

const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.lorem())
const texts = fc.array(text, { minLength: 1, maxLength: 30 })
const ids = fc.array(fc.nat(200_000), { minLength: 1, maxLength: 30 })
const few = fc.integer({ min: 1, max: 20 })
const limit = fc.integer({ min: 1, max: MAX_OUTPUT })

const completions = fc
  .record({
    prompt: fc.oneof(text, texts, ids, fc.array(ids, { minLength: 1, maxLength: 20 })),
    n: fc.option(few, { nil: undefined }),
    best_of: fc.option(few, { nil: undefined }),
    max_tokens: fc.option(limit, { nil: undefined }),
  })
  .map((body): Asked => {
    const { prompt, n = 1, best_of: bestOf = 1, max_tokens: most = MAX_OUTPUT } = body
    const isOne = typeof prompt === 'string' || typeof prompt[0] === 'number'
    const list: readonly unknown[] = isOne || typeof prompt === 'string' ? [prompt] : prompt
    const input = sum(list.map((each) => (Array.isArray(each) ? each.length : bytes(each))))
    return {
      path: '/completions',
      body: { model: 'm', ...body },
      bill: { input, output: list.length * Math.max(n, bestOf) * most },
    }
  })

const chats = fc
  .record({
    messages: fc.array(fc.record({ role: fc.constant('user'), content: text }), {
      minLength: 1,
      maxLength: 9,
    }),
    tools: fc.option(
      fc.array(fc.record({ type: fc.constant('function'), function: fc.record({ name: text }) })),
      {
        nil: undefined,
      },
    ),
    modalities: fc.option(fc.constant(['text', 'audio']), { nil: undefined }),
    n: fc.option(few, { nil: undefined }),
    max_completion_tokens: fc.option(limit, { nil: undefined }),
  })
  .map((body): Asked => {
    const { messages, tools, n = 1, max_completion_tokens: most = MAX_OUTPUT } = body
    const input = sum(messages.map(({ content }) => bytes(content) + 4)) + (tools ? bytes(tools) : 0)
    return { path: '/chat/completions', body: { model: 'm', ...body }, bill: { input, output: n * most } }
  })

const rankings = fc
  .record({
    query: text,
    documents: fc.array(fc.oneof(text, fc.record({ text, title: text })), { minLength: 1, maxLength: 50 }),
    top_n: fc.option(few, { nil: undefined }),
  })
  .map((body): Asked => {
    const pairs = body.documents.map(
      (each) => bytes(body.query) + 4 + bytes(typeof each === 'string' ? each : each.text),
    )
    return { path: '/rerank', body: { model: 'm', ...body }, bill: { input: sum(pairs), output: 0 } }
  })

const embeddings = fc
  .record({ input: fc.oneof(text, texts, ids, fc.array(ids, { minLength: 1, maxLength: 20 })) })
  .map((body): Asked => {
    const list = Array.isArray(body.input) ? body.input : [body.input]
    const input = sum(
      list.map((each) => (Array.isArray(each) ? each.length : typeof each === 'number' ? 1 : bytes(each))),
    )
    return { path: '/embeddings', body: { model: 'm', ...body }, bill: { input, output: 0 } }
  })

t.test('no request can cost more than is held for it', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(completions, chats, rankings, embeddings), async ({ path, body, bill }) => {
      const ask = await read(path, body)
      const cost = costMicros({ ...NO_USAGE, inputTokens: bill.input, outputTokens: bill.output }, PRICE)
      return worstCaseMicros(ask, PRICE, MAX_OUTPUT) >= cost && leastMicros(ask, PRICE) > 0
    }),
    { numRuns: 2000 },
  )
  t.pass()
})

t.test('what multiplies a request is counted, and what does not is not', async (t) => {
  const prompts = Array.from({ length: 100 }, () => 'a "b", [c]')
  const count = async (path: string, body: object) => {
    const { choices, inputTokens } = await read(path, { model: 'm', ...body })
    return [choices, inputTokens - Buffer.byteLength(JSON.stringify({ model: 'm', ...body }))]
  }
  t.same(await count('/completions', { prompt: prompts }), [100, 0])
  t.same(await count('/completions', { prompt: prompts, n: 2, best_of: 20 }), [2000, 0])
  t.same(await count('/completions', { prompt: [1, 2, 3] }), [1, 0])
  t.same(await count('/completions', { prompt: [[1, 2, 3], [4]] }), [2, 0])
  t.same(await count('/completions', { prompt: [] }), [1, 0])
  t.same(await count('/completions', { prompt: 'a, b', n: 3 }), [3, 0])
  t.same(await count('/responses', { prompt: { id: 'p' } }), [1, 0])
  t.same(await count('/rerank', { query: 'x'.repeat(58), documents: prompts }), [1, 100 * (60 + 4)])
  t.same(await count('/embeddings', { input: [[1, 2], [3]] }), [1, 0])
  const edits = { context_management: { edits: [{ type: 'compact_20260112' }] } }
  const content = 'word '.repeat(12_000)
  const messages = [{ role: 'user', content }]
  const [, more = 0] = await count('/messages', { messages, ...edits })
  t.ok(more > 60_000)
  t.same(await count('/messages', { messages: [], ...edits }), [1, 0])
  const many = Array.from({ length: 200_000 }, () => '')
  t.same(await count('/completions', { prompt: many }), [200_000, 0])
})

t.test('a picture counts under each name that a link to it has', async (t) => {
  const url = 'https://example.net/a.png'
  const bound = (body: object) => inputBound(Buffer.from(JSON.stringify(body))) - JSON.stringify(body).length
  t.equal(bound({ input: [{ image: url }, { image: url }] }), 4096)
  t.equal(bound({ input: [{ type: 'image_url', image_url: { url } }] }), 2048)
  t.equal(bound({ tools: [{ parameters: { properties: { image: { type: 'string' } } } }] }), 0)
})

const counted = (path: string, body: object, models: string[]) => {
  const endpoint = ENDPOINTS.find((each) => each.path === path)
  if (!endpoint) throw new Error(path)
  return countInput({ dialect: endpoint.dialect, body: Buffer.from(JSON.stringify(body)), models, key: 'k' })
}

t.test(
  'counted input is far below its bytes, and never below what its model family makes of it',
  async (t) => {
    const english = 'The river bends twice before it meets the old stone bridge. '.repeat(200)
    const messages = [{ role: 'user', content: english }]
    const own = (await counted('/chat/completions', { messages }, ['gpt-4o'])) ?? 0
    t.ok(own > 2400 && own < 3000, `${own} of ${english.length} bytes`)
    const claude = (await counted('/messages', { messages }, ['gpt-4o', 'claude-opus-5'])) ?? 0
    t.ok(claude > own * 1.5 && claude < english.length / 2, `${claude}`)
    const wide = await counted(
      '/chat/completions',
      { messages: [{ role: 'user', content: '早上好'.repeat(900) }] },
      ['x'],
    )
    t.ok((wide ?? 0) > 1.9 * 900, `${wide}`)
    // Letters without a gap are no file, whatever they look like.
    const letters = 'qzxjkvbw'.repeat(2000)
    t.ok(((await counted('/chat/completions', { messages: [{ content: letters }] }, ['gpt-4o'])) ?? 0) > 8000)
  },
)

t.test('counted input has every multiplier and every file in it', async (t) => {
  const ranked = {
    query: 'what is it '.repeat(20),
    documents: Array.from({ length: 1000 }, () => 'a short one'),
  }
  t.ok(((await counted('/rerank', ranked, ['x'])) ?? 0) > 60_000)
  const file = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251)).toString('base64')
  const image = { type: 'image', source: { type: 'base64', data: file } }
  const body = { messages: [{ role: 'user', content: [image] }] }
  const tokens = (await counted('/messages', body, ['claude'])) ?? 0
  t.ok(tokens > 50_000 && tokens < 60_000, `${tokens}`)
  const text = [{ role: 'user', content: 'word '.repeat(20_000) }]
  const once = (await counted('/messages', { messages: text }, ['claude'])) ?? 0
  const edits = { edits: [{ type: 'compact_20260112' }] }
  const twice = (await counted('/messages', { messages: text, context_management: edits }, ['claude'])) ?? 0
  t.ok(twice >= 2 * once)
  t.equal(await counted('/chat/completions', [], ['x']), undefined)
})

t.test(
  'large requests are copied for counting a few at a time, and who has fewer there is next',
  async (t) => {
    const [endpoint] = ENDPOINTS
    const file = 'QUJD'.repeat(1_800_000)
    const body = Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: file }] }))
    const ended: string[] = []
    const before = process.memoryUsage().rss
    const countOf = async (key: string) => {
      if (endpoint) await countInput({ dialect: endpoint.dialect, body, models: ['gpt-6'], key })
      ended.push(key)
    }
    const all = [...Array.from({ length: 30 }, () => countOf('many')), countOf('one')]
    const grown = (process.memoryUsage().rss - before) / 1024 / 1024
    t.ok(grown < 100, `${grown} MiB of ${(30 * body.length) / 1024 / 1024}`)
    await Promise.all(all)
    t.ok(ended.indexOf('one') < 5, `after ${ended.indexOf('one')}`)
  },
)

t.test('what is counted is all that a model may read, whatever its names', async (t) => {
  const text = 'The river bends twice before it meets the old stone bridge. '.repeat(1000)
  const used = (input: object) => ({
    messages: [{ role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input }] }],
  })
  const flags = Array.from({ length: 10_000 }, (_, index) => (index % 2 === 0 ? true : null))
  const schema = (parameters: object) => ({
    messages: [],
    tools: [{ type: 'function', function: { name: 'f', parameters } }],
  })
  for (const [name, body, least] of [
    ['a role', used({ role: text }), 12_000],
    ['a type', used({ type: text }), 12_000],
    ['a name', used({ type: 'x', [text]: 1 }), 12_000],
    ['flags', used({ type: 'x', flags }), 20_000],
    ['numbers', schema({ type: 'number', enum: flags.map((_, index) => 1e9 + index) }), 40_000],
    ['brackets', schema({ default: flags.map(() => [{}]) }), 20_000],
  ] as const) {
    const tokens = (await counted('/messages', body, ['claude-opus-5'])) ?? 0
    t.ok(tokens >= least && tokens < 6 * least, `${name}: ${tokens}`)
  }
  const given = Array.from({ length: 1000 }, (_, index) => 100_000 + index)
  for (const input of [given, [given.slice(0, 500), given.slice(500)]])
    t.ok(((await counted('/embeddings', { input }, ['text-embedding-3-small'])) ?? 0) < 1_100)
})
