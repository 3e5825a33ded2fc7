import t from 'tap'
import type { DialectName } from '../../src/config/endpoints.ts'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { NO_USAGE, type Usage } from '../../src/dialects/usage.ts'
import { createStreamMeter } from '../../src/metering/stream-meter.ts'
import { readStreamUsage, readUsage } from '../../src/metering/usage.ts'

type Row = [name: string, kind: DialectName, answer: unknown, used: Partial<Usage> | undefined]

const chat = (usage: unknown, more = {}) => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_790_000_000,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Say "usage": {}' }, finish_reason: 'stop' }],
  usage,
  ...more,
})

const rows: Row[] = [
  [
    'OpenAI Chat',
    'openai-chat',
    chat({
      prompt_tokens: 1200,
      completion_tokens: 300,
      total_tokens: 1500,
      prompt_tokens_details: { cached_tokens: 1024, audio_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 192, audio_tokens: 0, accepted_prediction_tokens: 0 },
    }),
    { inputTokens: 1200, cachedTokens: 1024, outputTokens: 300, reasoningTokens: 192 },
  ],
  [
    'DeepSeek without details',
    'openai-chat',
    chat({
      prompt_tokens: 100,
      completion_tokens: 20,
      total_tokens: 120,
      prompt_cache_hit_tokens: 64,
      prompt_cache_miss_tokens: 36,
    }),
    { inputTokens: 100, cachedTokens: 64, outputTokens: 20 },
  ],
  [
    'Groq, with its id after the usage',
    'openai-chat',
    chat(
      {
        queue_time: 0.01,
        prompt_tokens: 24,
        prompt_time: 0.002,
        completion_tokens: 4,
        completion_time: 0.03,
        total_tokens: 28,
      },
      { usage_breakdown: null, system_fingerprint: 'fp', x_groq: { id: 'req_1' } },
    ),
    { inputTokens: 24, outputTokens: 4 },
  ],
  [
    'Mistral, usage before the choices',
    'openai-chat',
    {
      id: '1',
      model: 'mistral',
      usage: { prompt_tokens: 13, total_tokens: 24, completion_tokens: 11 },
      choices: [],
    },
    { inputTokens: 13, outputTokens: 11 },
  ],
  [
    'Gemini, whose thoughts stand only in the total',
    'openai-chat',
    chat({ completion_tokens: 12, prompt_tokens: 9, total_tokens: 532 }),
    { inputTokens: 9, outputTokens: 523, reasoningTokens: 511 },
  ],
  [
    'Gemini without output',
    'openai-chat',
    chat({ prompt_tokens: 9, total_tokens: 9 }),
    { inputTokens: 9, outputTokens: 0 },
  ],
  [
    'xAI, whose reasoning stands beside the completion',
    'openai-chat',
    chat({
      prompt_tokens: 31,
      completion_tokens: 10,
      total_tokens: 341,
      prompt_tokens_details: { text_tokens: 31, cached_tokens: 6 },
      completion_tokens_details: { reasoning_tokens: 300 },
      num_sources_used: 0,
    }),
    { inputTokens: 31, cachedTokens: 6, outputTokens: 310, reasoningTokens: 300 },
  ],
  [
    'OpenRouter with its own cost',
    'openai-chat',
    chat({
      prompt_tokens: 50,
      completion_tokens: 40,
      total_tokens: 90,
      cost: 0.00014,
      is_byok: false,
      prompt_tokens_details: { cached_tokens: 0 },
      cost_details: { upstream_inference_cost: null },
      completion_tokens_details: { reasoning_tokens: 25 },
    }),
    { inputTokens: 50, outputTokens: 40, reasoningTokens: 25 },
  ],
  ['an explicit zero stays zero', 'openai-chat', chat({ prompt_tokens: 0, completion_tokens: 0 }), {}],
  [
    'more cached than sent',
    'openai-chat',
    chat({ prompt_tokens: 5, completion_tokens: 1, cached_tokens: 9 }),
    { inputTokens: 5, cachedTokens: 5, outputTokens: 1 },
  ],
  [
    'Responses',
    'openai-responses',
    {
      id: 'resp_1',
      output: [{ type: 'message', content: [{ type: 'output_text', text: 'hi' }] }],
      tools: [{ type: 'function', parameters: { properties: { usage: { type: 'object' } } } }],
      usage: {
        input_tokens: 36,
        input_tokens_details: { cached_tokens: 4 },
        output_tokens: 87,
        output_tokens_details: { reasoning_tokens: 60 },
        total_tokens: 123,
      },
      metadata: {},
    },
    { inputTokens: 36, cachedTokens: 4, outputTokens: 87, reasoningTokens: 60 },
  ],
  [
    'Messages, cache counted beside the input',
    'anthropic-messages',
    {
      type: 'message',
      content: [{ type: 'text', text: 'hi' }],
      usage: {
        input_tokens: 10,
        cache_creation_input_tokens: 200,
        cache_read_input_tokens: 3000,
        output_tokens: 7,
        service_tier: 'standard',
      },
    },
    { inputTokens: 3210, cachedTokens: 3000, outputTokens: 7 },
  ],
  [
    'openai-embeddings',
    'openai-embeddings',
    { data: [{ embedding: [0.1] }], usage: { prompt_tokens: 8, total_tokens: 8 } },
    { inputTokens: 8 },
  ],
  [
    'embeddings with a total only',
    'openai-embeddings',
    { data: [], usage: { total_tokens: 10 } },
    { inputTokens: 10 },
  ],
  ['rerank of Jina', 'openai-rerank', { results: [], usage: { total_tokens: 815 } }, { inputTokens: 815 }],
  [
    'rerank of Cohere',
    'openai-rerank',
    {
      results: [],
      meta: { billed_units: { search_units: 1 }, tokens: { input_tokens: 99, output_tokens: 0 } },
    },
    { inputTokens: 99 },
  ],
  [
    'search units are no tokens',
    'openai-rerank',
    { results: [], meta: { billed_units: { search_units: 1 } } },
    undefined,
  ],
  [
    'whisper',
    'openai-transcription',
    { text: 'hi', usage: { type: 'duration', seconds: 3 } },
    { seconds: 3 },
  ],
  [
    'verbose whisper',
    'openai-transcription',
    { duration: 8.47, text: 'hi', segments: [] },
    { seconds: 8.47 },
  ],
  [
    'transcription by tokens',
    'openai-transcription',
    {
      text: 'hi',
      usage: {
        type: 'tokens',
        input_tokens: 14,
        input_token_details: { audio_tokens: 14 },
        output_tokens: 45,
        total_tokens: 59,
      },
    },
    { inputTokens: 14, outputTokens: 45 },
  ],
  [
    'images without a report',
    'openai-images',
    { created: 1, data: [{ url: 'https://x' }, { url: 'https://y' }] },
    { images: 2 },
  ],
  [
    'images with a report',
    'openai-images',
    {
      created: 1,
      data: [{ b64_json: 'aGk=' }],
      usage: { input_tokens: 13, output_tokens: 1056, total_tokens: 1069 },
    },
    { images: 1, inputTokens: 13, outputTokens: 1056 },
  ],
  ['a free endpoint', 'anthropic-count-tokens', { results: [] }, {}],
  ['no report', 'openai-chat', chat(undefined), undefined],
  ['null', 'openai-chat', chat(null), undefined],
  ['an empty report', 'openai-chat', chat({}), undefined],
  ['a text for a number', 'openai-chat', chat({ prompt_tokens: '5', completion_tokens: 5 }), undefined],
  [
    'a negative count',
    'openai-chat',
    chat({ prompt_tokens: 5, completion_tokens: -5, total_tokens: 10 }),
    undefined,
  ],
  ['a fraction', 'openai-chat', chat({ prompt_tokens: 5.5, completion_tokens: 5 }), undefined],
  ['an absurd count', 'openai-chat', chat({ prompt_tokens: 5, completion_tokens: 2e9 }), undefined],
  ['a list', 'openai-chat', chat([1, 2]), undefined],
]

/** Longer than any search window, as a field that stands before all others. */
const padded = (answer: unknown) =>
  Buffer.from(`{"pad":"${'\\"usage\\":{'.repeat(900)}",${JSON.stringify(answer).slice(1)}`)

t.test("each provider's report is read, in short answers and long ones, compact and indented", async (t) => {
  for (const [name, kind, answer, used] of rows) {
    const expected = used && { ...NO_USAGE, ...used }
    t.same(readUsage(DIALECTS[kind], Buffer.from(JSON.stringify(answer))), expected, name)
    t.same(
      readUsage(DIALECTS[kind], Buffer.from(JSON.stringify(answer, null, 2))),
      expected,
      `${name}, indented`,
    )
    t.same(readUsage(DIALECTS[kind], padded(answer)), expected, `${name}, long`)
  }
})

t.test('a report that the client smuggled into the answer is not believed', async (t) => {
  const fake = { input_tokens: 0, output_tokens: 0, prompt_tokens: 0, completion_tokens: 0 }
  const real = { input_tokens: 7, output_tokens: 9 }
  const echo = {
    usage: real,
    tools: [{ parameters: { properties: { usage: fake } } }],
    metadata: { usage: '"usage":{' },
  }
  for (const body of [Buffer.from(JSON.stringify(echo)), padded(echo)]) {
    t.match(readUsage(DIALECTS['openai-responses'], body), { inputTokens: 7, outputTokens: 9 })
  }
  const key = chat({ prompt_tokens: 1, completion_tokens: 2 }, { 'x"usage': fake })
  t.match(readUsage(DIALECTS['openai-chat'], padded(key)), { inputTokens: 1, outputTokens: 2 })
  const said = chat(
    { prompt_tokens: 1, completion_tokens: 2 },
    { note: `\\" "usage": ${JSON.stringify(fake)}` },
  )
  t.match(readUsage(DIALECTS['openai-chat'], padded(said)), { inputTokens: 1, outputTokens: 2 })
})

t.test('what is no JSON says nothing', async (t) => {
  for (const text of ['', 'null', '[]', '<html>', '{"usage":{"prompt_tokens":1', '1\n00:00 --> hi']) {
    for (const kind of ['openai-chat', 'openai-rerank', 'openai-transcription', 'openai-images'] as const) {
      t.equal(readUsage(DIALECTS[kind], Buffer.from(text)), undefined, text)
    }
  }
})

t.test('the last bytes of a long answer are enough', async (t) => {
  const body = Buffer.from(
    JSON.stringify(
      chat({ prompt_tokens: 3, completion_tokens: 4 }, { choices: [{ text: 'x'.repeat(40_000) }] }),
    ),
  )
  const meter = createStreamMeter(DIALECTS['openai-chat'])
  meter.push(body)
  t.match(readUsage(DIALECTS['openai-chat'], meter.tail()), { inputTokens: 3, outputTokens: 4 })
})

const events = (all: unknown[], end = '\n') =>
  Buffer.from(
    all
      .map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}${end}${end}`)
      .join(''),
  )
const delta = (content: string, more = {}) => ({ choices: [{ index: 0, delta: { content } }], ...more })
const CHAT_USAGE = { prompt_tokens: 19, completion_tokens: 10, total_tokens: 29 }
const start = (usage: unknown) => ({ type: 'message_start', message: { id: 'msg', content: [], usage } })
const stop = (usage: unknown) => [
  { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage },
  { type: 'message_stop' },
]
const say = (text: string) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })

const streams: [name: string, kind: DialectName, events: unknown[], used: Partial<Usage> | undefined][] = [
  [
    'OpenAI',
    'openai-chat',
    [delta('a', { usage: null }), { choices: [], usage: CHAT_USAGE }, '[DONE]'],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'usage with the last choice',
    'openai-chat',
    [delta('a'), delta('', { usage: CHAT_USAGE }), '[DONE]'],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'Groq',
    'openai-chat',
    [delta('a'), { ...delta(''), x_groq: { id: 'req', usage: CHAT_USAGE } }, '[DONE]'],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'Moonshot',
    'openai-chat',
    [delta('a'), { choices: [{ delta: {}, usage: CHAT_USAGE }] }, '[DONE]'],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'running totals: the last one',
    'openai-chat',
    [delta('a', { usage: { ...CHAT_USAGE, completion_tokens: 1 } }), { choices: [], usage: CHAT_USAGE }],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'a report in the text',
    'openai-chat',
    [delta(`"usage":${JSON.stringify(CHAT_USAGE)}`), '[DONE]'],
    undefined,
  ],
  ['none', 'openai-chat', [delta('a'), '[DONE]'], undefined],
  [
    'Anthropic',
    'anthropic-messages',
    [
      start({ input_tokens: 25, cache_read_input_tokens: 100, output_tokens: 1 }),
      say('hi'),
      ...stop({ output_tokens: 15 }),
    ],
    { inputTokens: 125, cachedTokens: 100, outputTokens: 15 },
  ],
  [
    'Anthropic, the input again at the end',
    'anthropic-messages',
    [
      start({ input_tokens: 0, output_tokens: 0 }),
      ...stop({ input_tokens: 40, cache_read_input_tokens: null, output_tokens: 15 }),
    ],
    { inputTokens: 40, outputTokens: 15 },
  ],
  [
    'Anthropic, an empty input at the end',
    'anthropic-messages',
    [start({ input_tokens: 25, output_tokens: 1 }), ...stop({ input_tokens: 0, output_tokens: 0 })],
    { inputTokens: 25, outputTokens: 0 },
  ],
  [
    'Anthropic, cut before its end',
    'anthropic-messages',
    [start({ input_tokens: 25, output_tokens: 1 }), say('hi')],
    undefined,
  ],
  [
    'Responses',
    'openai-responses',
    [
      { type: 'response.created', response: { usage: null } },
      {
        type: 'response.completed',
        response: {
          usage: { input_tokens: 5, output_tokens: 6, output_tokens_details: { reasoning_tokens: 2 } },
          metadata: {},
        },
      },
    ],
    { inputTokens: 5, outputTokens: 6, reasoningTokens: 2 },
  ],
  [
    'Responses, an end that repeats more than is kept',
    'openai-responses',
    [
      {
        type: 'response.completed',
        response: {
          output: 'x'.repeat(20_000),
          usage: { input_tokens: 5, output_tokens: 6 },
          tools: [{ usage: {} }],
        },
      },
    ],
    { inputTokens: 5, outputTokens: 6 },
  ],
  [
    'openai-images',
    'openai-images',
    [
      {
        type: 'image_generation.completed',
        b64_json: 'A'.repeat(50_000),
        usage: { input_tokens: 5, output_tokens: 6 },
      },
    ],
    { images: 1, inputTokens: 5, outputTokens: 6 },
  ],
  [
    'openai-transcription',
    'openai-transcription',
    [{ type: 'transcript.text.done', text: 'hi', usage: { input_tokens: 5, output_tokens: 6 } }],
    { inputTokens: 5, outputTokens: 6 },
  ],
]

t.test(
  "each provider's stream says what was used, however long it is and however it is chunked",
  async (t) => {
    for (const [name, kind, all, used] of streams) {
      const filler = Array.from({ length: 400 }, () =>
        kind === 'anthropic-messages' ? say('filler text') : delta('filler text'),
      )
      for (const [index, end] of ['\n', '\r\n', '\r', '\n'].entries()) {
        const long = all.length === 1 ? [...filler, ...all] : [all[0], ...filler, ...all.slice(1)]
        const bytes = events(index < 3 ? all : long, end)
        const meter = createStreamMeter(DIALECTS[kind])
        for (let at = 0; at < bytes.length; at += 37) meter.push(bytes.subarray(at, at + 37))
        const expected = used && { ...NO_USAGE, ...used }
        t.same(meter.usage(), expected, `${name} ${index}`)
        if (index < 3)
          t.same(
            readStreamUsage(DIALECTS[kind], bytes.subarray(0, 16_384), bytes.subarray(-16_384)),
            expected,
            name,
          )
      }
    }
  },
)
