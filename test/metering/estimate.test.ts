import t from 'tap'
import type { DialectName } from '../../src/config/endpoints.ts'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { NO_USAGE } from '../../src/dialects/usage.ts'
import { countTokens, estimateInputTokens, estimateUsage } from '../../src/metering/estimate.ts'
import { createStreamMeter } from '../../src/metering/stream-meter.ts'

const PROSE = 'The quick brown fox jumps over the lazy dog, again and again. '
const json = (value: unknown) => Buffer.from(JSON.stringify(value))

t.test('tokens are counted as a model counts them, special words included as plain text', async (t) => {
  t.equal(await countTokens(''), 0)
  t.equal(await countTokens('Hello, world!'), 4)
  t.ok((await countTokens('<|endoftext|>')) > 1)
  const one = await countTokens(PROSE)
  const many = await countTokens(PROSE.repeat(1000))
  t.ok(Math.abs(many / one / 1000 - 1) < 0.08, `${many} for 1000 times ${one}`)
})

t.test('ten megabytes are counted in a second, and hostile text stalls nobody', async (t) => {
  await countTokens('load the table first')
  const hostile = Array.from(
    { length: 300_000 },
    (_, i) => 0x4e00 + ((i * 7919 + (i % 13) * 104_729) % 20_000),
  )
  const texts = [PROSE.repeat(170_000), 'a'.repeat(10_000_000), '语'.repeat(3_000_000), ' '.repeat(5_000_000)]
  for (const text of [...texts, String.fromCharCode(...hostile.slice(0, 60_000)).repeat(5)]) {
    const isHostile = !texts.includes(text)
    const start = process.cpuUsage()
    const loop = performance.eventLoopUtilization()
    const tokens = await countTokens(text)
    const { active } = performance.eventLoopUtilization(loop)
    const { user } = process.cpuUsage(start)
    t.ok(active < 250, `${active} ms of the event loop`)
    t.ok(user < (isHostile ? 4_000_000 : 1_000_000), `${user} us`)
    t.ok(tokens > text.length / 200 && tokens <= (isHostile ? 3 : 1) * text.length, `${tokens}`)
  }
  const sampled = await countTokens(PROSE.repeat(10_000))
  const exact = (await countTokens(PROSE.repeat(1000))) * 10
  t.ok(Math.abs(sampled / exact - 1) < 0.05, `${sampled} of ${exact}`)
})

t.test('one user’s long texts do not hold up another’s short one', async (t) => {
  const text = Array.from({ length: 200_000 }, (_, i) =>
    String.fromCharCode(0x4e00 + ((i * 7919) % 19_997)),
  ).join('')
  let isOver = false
  const long = Promise.all(Array.from({ length: 4 }, () => countTokens(text, 'greedy'))).then(() => {
    isOver = true
  })
  t.equal(await countTokens('Hello, world!', 'victim'), 4)
  t.notOk(isOver, 'it was counted in its turn')
  await long
})

const FILE = `data:image/png;base64,${Buffer.alloc(90_000, 'picture').toString('base64')}`

t.test('the input of a request is what a model reads of it', async (t) => {
  const hello = await countTokens('hello there')
  for (const [kind, body, least, most] of [
    ['openai-chat', { model: 'm', messages: [{ role: 'user', content: 'hello there' }] }, hello, hello + 8],
    [
      'openai-chat',
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'hello there' }] }] },
      hello,
      hello + 8,
    ],
    [
      'openai-chat',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: FILE } }] }] },
      1000,
      1020,
    ],
    [
      'anthropic-messages',
      {
        system: 'hello there',
        messages: [{ content: [{ type: 'image', source: { data: FILE.slice(22) } }] }],
      },
      1000,
      1020,
    ],
    [
      'openai-responses',
      { instructions: 'hello there', input: 'hello there', metadata: { a: PROSE } },
      2 * hello,
      2 * hello + 2,
    ],
    [
      'openai-chat',
      { tools: [{ type: 'function', function: { name: 'f', parameters: { properties: { city: {} } } } }] },
      4,
      20,
    ],
    [
      'openai-embeddings',
      {
        input: [
          [1, 2, 3],
          [4, 5],
        ],
      },
      5,
      5,
    ],
    ['openai-embeddings', { input: ['hello there', 'hello there'] }, 2 * hello, 2 * hello + 1],
    [
      'openai-rerank',
      { query: 'hello there', documents: ['hello there', { text: 'hello there' }] },
      3 * hello,
      3 * hello + 5,
    ],
    ['anthropic-count-tokens', { input: 'hello there' }, 0, 0],
    ['openai-chat', [], 0, 0],
  ] as [DialectName, unknown, number, number][]) {
    const tokens = await estimateInputTokens(DIALECTS[kind], json(body))
    t.ok(
      tokens >= least && tokens <= most,
      `${tokens} within ${least}..${most}: ${JSON.stringify(body).slice(0, 80)}`,
    )
  }
  t.equal(await estimateInputTokens(DIALECTS['openai-chat'], Buffer.from('no json')), 0)
})

t.test('a large request, or one that is nested absurdly deep, is counted too', async (t) => {
  const words = { messages: [{ role: 'user', content: PROSE.repeat(10_000) }] }
  const expected = 10_000 * (await countTokens(PROSE))
  const tokens = await estimateInputTokens(DIALECTS['openai-chat'], json(words))
  t.ok(Math.abs(tokens / expected - 1) < 0.1, `${tokens} of ${expected}`)
  const picture = {
    messages: [{ content: [{ image_url: { url: FILE + FILE.slice(22) + FILE.slice(22) } }] }],
  }
  t.ok((await estimateInputTokens(DIALECTS['openai-chat'], json(picture))) < 1100)
  const deep = Buffer.from(`{"messages":${'['.repeat(100_000)}"hello"${']'.repeat(100_000)}}`)
  t.ok((await estimateInputTokens(DIALECTS['openai-chat'], deep)) >= 1)
})

const streamed = (kind: DialectName, events: unknown[]) => {
  const meter = createStreamMeter(DIALECTS[kind])
  for (const event of events) meter.push(Buffer.from(`data: ${JSON.stringify(event)}\n\n`))
  return meter
}

t.test('a request without a report is paid by our own count, and marked so', async (t) => {
  const hello = await countTokens('hello there')
  const requestBody = json({ input: 'hello there', messages: [] })
  const own = { ...NO_USAGE, estimated: true, inputTokens: hello }
  const chat = json({ choices: [{ message: { content: 'hello there' } }] })
  const messages = json({
    content: [
      { type: 'text', text: 'hello ' },
      { type: 'thinking', thinking: 'there' },
    ],
  })
  const responses = json({
    output: [{ type: 'message', content: [{ type: 'output_text', text: 'hello there' }] }],
  })
  const both = { ...own, outputTokens: hello }
  t.same(await estimateUsage({ dialect: DIALECTS['openai-chat'], requestBody, answer: chat }), both)
  t.same(
    await estimateUsage({ dialect: DIALECTS['anthropic-messages'], requestBody, answer: messages }),
    both,
  )
  t.same(await estimateUsage({ dialect: DIALECTS['openai-responses'], requestBody, answer: responses }), both)
  t.same(
    await estimateUsage({
      dialect: DIALECTS['openai-embeddings'],
      requestBody,
      answer: json({ data: [{ embedding: [1, 2] }] }),
    }),
    own,
  )
  const subtitles = await estimateUsage({
    dialect: DIALECTS['openai-transcription'],
    seconds: 3,
    answer: Buffer.from('hello there'),
  })
  t.same(subtitles, { ...NO_USAGE, estimated: true, seconds: 3, outputTokens: hello })
  t.same(await estimateUsage({ dialect: DIALECTS['openai-speech'], characters: 11, requestBody }), {
    ...own,
    characters: 11,
  })
  t.same(await estimateUsage({ dialect: DIALECTS['openai-images'], images: 2 }), {
    ...NO_USAGE,
    estimated: true,
    images: 2,
  })
  t.same(await estimateUsage({ dialect: DIALECTS['anthropic-count-tokens'], requestBody }), NO_USAGE)
  t.same(await estimateUsage({ dialect: DIALECTS['openai-chat'] }), { ...NO_USAGE, estimated: true })
})

t.test('a stream that was cut is paid by what was delivered', async (t) => {
  const requestBody = json({ messages: [{ role: 'user', content: 'hello there' }] })
  const deltas = Array.from({ length: 3000 }, () => ({ choices: [{ delta: { content: 'hello there ' } }] }))
  const usage = await estimateUsage({
    dialect: DIALECTS['openai-chat'],
    requestBody,
    meter: streamed('openai-chat', deltas),
  })
  const expected = await countTokens('hello there '.repeat(3000))
  t.ok(Math.abs(usage.outputTokens / expected - 1) < 0.02, `${usage.outputTokens} of ${expected}`)
  const start = {
    type: 'message_start',
    message: { usage: { input_tokens: 700, cache_read_input_tokens: 50, output_tokens: 1 } },
  }
  const say = { type: 'content_block_delta', delta: { type: 'text_delta', text: 'hello there' } }
  const anthropic = await estimateUsage({
    dialect: DIALECTS['anthropic-messages'],
    requestBody,
    meter: streamed('anthropic-messages', [start, say]),
  })
  const outputTokens = await countTokens('hello there')
  t.same(anthropic, { ...NO_USAGE, estimated: true, inputTokens: 750, cachedTokens: 50, outputTokens })
})
