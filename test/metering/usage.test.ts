import t from 'tap'
import type { DialectName } from '../../src/config/endpoints.ts'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { NO_USAGE, type Usage } from '../../src/dialects/usage.ts'
import { createAnswerMeter, createStreamMeter } from '../../src/metering/stream-meter.ts'
import { readUsage } from '../../src/metering/usage.ts'

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
    'Gemini, whose thoughts stand only in the total, with a cache in its prompt',
    'openai-chat',
    chat({
      completion_tokens: 12,
      prompt_tokens: 1000,
      total_tokens: 1523,
      prompt_tokens_details: { cached_tokens: 800 },
    }),
    { inputTokens: 1000, cachedTokens: 800, outputTokens: 523, reasoningTokens: 511 },
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
    { inputTokens: 14, cachedTokens: 9, outputTokens: 1, estimated: true },
  ],
  [
    'more cached than sent, with a total that has no room for it',
    'openai-chat',
    chat({ prompt_tokens: 5, completion_tokens: 1, total_tokens: 6, cached_tokens: 9 }),
    { inputTokens: 5, outputTokens: 1, estimated: true },
  ],
  [
    'a cache beside the prompt, as the total says',
    'openai-chat',
    chat({
      prompt_tokens: 368,
      completion_tokens: 19,
      total_tokens: 10_923,
      cache_read_input_tokens: 10_536,
    }),
    { inputTokens: 10_904, cachedTokens: 10_536, outputTokens: 19 },
  ],
  [
    'a cache that was read and written beside the prompt',
    'openai-chat',
    chat({
      prompt_tokens: 10,
      completion_tokens: 5,
      total_tokens: 365,
      cache_read_input_tokens: 300,
      cache_creation_input_tokens: 50,
    }),
    { inputTokens: 360, cachedTokens: 300, outputTokens: 5 },
  ],
  [
    "LiteLLM's Claude, whose prompt has the cache in it",
    'openai-chat',
    chat({
      prompt_tokens: 400,
      completion_tokens: 5,
      total_tokens: 405,
      prompt_tokens_details: { cached_tokens: 300 },
      cache_read_input_tokens: 300,
      cache_creation_input_tokens: 50,
    }),
    { inputTokens: 400, cachedTokens: 300, outputTokens: 5 },
  ],
  [
    'a cache and thoughts beside',
    'openai-chat',
    chat({
      prompt_tokens: 10,
      completion_tokens: 5,
      total_tokens: 335,
      cache_read_input_tokens: 300,
      completion_tokens_details: { reasoning_tokens: 20 },
    }),
    { inputTokens: 310, cachedTokens: 300, outputTokens: 25, reasoningTokens: 20 },
  ],
  [
    'a total that nothing explains is not sold as output',
    'openai-chat',
    chat({ prompt_tokens: 10, completion_tokens: 5, total_tokens: 900, cache_read_input_tokens: 7 }),
    { inputTokens: 10, cachedTokens: 7, outputTokens: 5, estimated: true },
  ],
  [
    'a total of millions is nobody’s thoughts',
    'openai-chat',
    chat({ prompt_tokens: 10, completion_tokens: 5, total_tokens: 5_000_000 }),
    { inputTokens: 10, outputTokens: 5, estimated: true },
  ],
  [
    'a total below its parts',
    'openai-chat',
    chat({ prompt_tokens: 10, completion_tokens: 5, total_tokens: 12 }),
    { inputTokens: 10, outputTokens: 5, estimated: true },
  ],
  [
    'more reasoning than output, and no total',
    'openai-chat',
    chat({
      prompt_tokens: 10,
      completion_tokens: 5,
      completion_tokens_details: { reasoning_tokens: 50 },
    }),
    { inputTokens: 10, outputTokens: 55, reasoningTokens: 50, estimated: true },
  ],
  [
    'Mistral, whose sound stands in the total alone',
    'openai-chat',
    chat({ prompt_audio_seconds: 203, prompt_tokens: 4, total_tokens: 3264, completion_tokens: 635 }),
    { inputTokens: 2629, outputTokens: 635, seconds: 203 },
  ],
  [
    "a router's two vocabularies, one of them at zero",
    'openai-chat',
    chat({ prompt_tokens: 9, completion_tokens: 4, total_tokens: 13, input_tokens: 0, output_tokens: 0 }),
    { inputTokens: 9, outputTokens: 4 },
  ],
  [
    'the other one at zero',
    'openai-responses',
    chat({ prompt_tokens: 0, completion_tokens: 0, total_tokens: 13, input_tokens: 9, output_tokens: 4 }),
    { inputTokens: 9, outputTokens: 4 },
  ],
  [
    'a prompt that only the total says',
    'openai-chat',
    chat({ prompt_tokens: null, completion_tokens: 10, total_tokens: 110 }),
    { inputTokens: 100, outputTokens: 10 },
  ],
  [
    'details of null',
    'openai-chat',
    chat({ prompt_tokens: 5, completion_tokens: 1, prompt_tokens_details: null, cached_tokens: null }),
    { inputTokens: 5, outputTokens: 1 },
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
    'Messages, whose conversation was summarized first',
    'anthropic-messages',
    {
      type: 'message',
      content: [],
      usage: {
        input_tokens: 23_000,
        output_tokens: 1_000,
        iterations: [
          { type: 'compaction', input_tokens: 180_000, output_tokens: 3_500 },
          { type: 'message', input_tokens: 23_000, output_tokens: 1_000 },
        ],
      },
    },
    { inputTokens: 203_000, outputTokens: 4_500 },
  ],
  [
    'Messages with advice of another model and a summary from the cache',
    'anthropic-messages',
    {
      type: 'message',
      content: [],
      usage: {
        input_tokens: 20,
        cache_read_input_tokens: 80,
        output_tokens: 10,
        iterations: [
          { type: 'message', input_tokens: 10, cache_read_input_tokens: 80, output_tokens: 4 },
          { type: 'advisor_message', model: 'x', input_tokens: 1000, output_tokens: 500 },
          { type: 'compaction', input_tokens: 5, cache_read_input_tokens: 300, output_tokens: 7 },
          { type: 'message', input_tokens: 10, output_tokens: 6 },
          null,
        ],
      },
    },
    { inputTokens: 1405, cachedTokens: 380, outputTokens: 517 },
  ],
  [
    'Messages, added up by a router already',
    'anthropic-messages',
    {
      type: 'message',
      content: [],
      usage: {
        input_tokens: 203,
        output_tokens: 45,
        iterations: [
          { type: 'compaction', input_tokens: 180, output_tokens: 35 },
          { type: 'message', input_tokens: 23, output_tokens: 10 },
        ],
      },
    },
    { inputTokens: 203, outputTokens: 45 },
  ],
  [
    'Messages, whose writing to the cache is named by its age alone',
    'anthropic-messages',
    {
      type: 'message',
      content: [],
      usage: {
        input_tokens: 1,
        output_tokens: 2,
        cache_creation: { ephemeral_5m_input_tokens: 30, ephemeral_1h_input_tokens: 4 },
      },
    },
    { inputTokens: 35, outputTokens: 2 },
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
  [
    'numbers as strings',
    'openai-chat',
    chat({ prompt_tokens: '5', completion_tokens: '6', total_tokens: '11' }),
    { inputTokens: 5, outputTokens: 6 },
  ],
  ['a word for a number', 'openai-chat', chat({ prompt_tokens: 'many', completion_tokens: 5 }), undefined],
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
    'the input in one event and the output in another',
    'openai-chat',
    [
      { choices: [], usage: { prompt_tokens: 19, completion_tokens: 0 } },
      delta('a'),
      { choices: [], usage: { prompt_tokens: 0, completion_tokens: 10 } },
    ],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'the input in one event and the output alone in another',
    'openai-chat',
    [
      { choices: [], usage: { prompt_tokens: 19 } },
      delta('a'),
      { choices: [], usage: { completion_tokens: 10 } },
    ],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'usage in front of a long last event',
    'openai-chat',
    [delta('a'), { usage: CHAT_USAGE, choices: [], pad: 'x'.repeat(40_000) }, '[DONE]'],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'many events behind the report',
    'openai-chat',
    [{ choices: [], usage: CHAT_USAGE }, ...Array.from({ length: 300 }, () => delta('later')), '[DONE]'],
    { inputTokens: 19, outputTokens: 10 },
  ],
  [
    'Responses, usage in front of a long answer',
    'openai-responses',
    [
      {
        type: 'response.completed',
        response: {
          tools: [{ usage: { input_tokens: 1, output_tokens: 1 } }],
          usage: { input_tokens: 5, output_tokens: 6 },
          output: `"usage":{"input_tokens":9,"output_tokens":9} \\" ${'x'.repeat(40_000)}`,
          more: [{ x: { usage: { input_tokens: 2, output_tokens: 2 } } }],
        },
      },
    ],
    { inputTokens: 5, outputTokens: 6 },
  ],
  [
    'Anthropic, with a summary',
    'anthropic-messages',
    [
      start({ input_tokens: 23, output_tokens: 1 }),
      ...stop({
        output_tokens: 10,
        iterations: [
          { type: 'compaction', input_tokens: 180, output_tokens: 35 },
          { type: 'message', input_tokens: 23, output_tokens: 10 },
        ],
      }),
    ],
    { inputTokens: 203, outputTokens: 45 },
  ],
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
        const whole = createStreamMeter(DIALECTS[kind])
        whole.push(bytes)
        t.same(whole.usage(), expected, `${name} ${index}, in one piece`)
      }
    }
  },
)

t.test('an event of several lines of data is read as one, and lines without a gap as several', async (t) => {
  const report = JSON.stringify({ choices: [], usage: CHAT_USAGE }, null, 2)
  const lines = report.split('\n').map((line) => `data: ${line}\n`)
  for (const stream of [
    `data: ${JSON.stringify(delta('a'))}\n\n${lines.join('')}\ndata: [DONE]\n\n`,
    `data: ${JSON.stringify(delta('a'))}\ndata: ${JSON.stringify({ choices: [], usage: CHAT_USAGE })}\ndata: [DONE]\n`,
  ]) {
    for (const size of [1, 7, 5000]) {
      const meter = createStreamMeter(DIALECTS['openai-chat'])
      const bytes = Buffer.from(stream)
      for (let at = 0; at < bytes.length; at += size) meter.push(bytes.subarray(at, at + size))
      t.match(meter.usage(), { inputTokens: 19, outputTokens: 10 }, `${size}`)
    }
  }
})

t.test(
  'the same report is found however a long answer is cut, and none that a client put into it',
  async (t) => {
    const usage = { prompt_tokens: 700, completion_tokens: 300, total_tokens: 1000 }
    const fake = { prompt_tokens: 1, completion_tokens: 1 }
    const pad = 'word \\ "x" '.repeat(30_000)
    const answers = [
      { id: 'a', usage, pad, more: { usage: fake } },
      { id: 'a', echo: [{ usage: fake }], usage, pad, 'x"usage': fake, last: [1, { usage: fake }] },
      {
        pad,
        echo: { usage: fake },
        text: ` "usage":${JSON.stringify(fake)} `,
        usage,
        tail: 'x'.repeat(20_000),
      },
      { usage: null, pad, usage2: fake, echo: { usage: fake }, end: { usage: fake } },
    ]
    for (const [index, answer] of answers.entries()) {
      for (const indent of [0, 2])
        for (const size of [1000, 1013, 65_536, 900_000]) {
          const bytes = Buffer.from(JSON.stringify(answer, null, indent))
          const meter = createAnswerMeter(DIALECTS['openai-chat'])
          for (let at = 0; at < bytes.length; at += size) meter.push(bytes.subarray(at, at + size))
          const found = meter.usage()
          if (index === 3) t.equal(found, undefined)
          else t.match(found, { inputTokens: 700, outputTokens: 300, estimated: false }, `${index} ${size}`)
        }
    }
  },
)

t.test('what long answers say without a report is read where they say it', async (t) => {
  const passed = (kind: DialectName, answer: unknown) => {
    const meter = createAnswerMeter(DIALECTS[kind])
    meter.push(Buffer.from(JSON.stringify(answer)))
    return meter.usage()
  }
  const long = 'x'.repeat(300_000)
  t.match(passed('openai-transcription', { task: 'transcribe', duration: 8.5, text: long }), { seconds: 8.5 })
  t.match(passed('openai-rerank', { results: [long], meta: { billed_units: { input_tokens: 99 } } }), {
    inputTokens: 99,
  })
  t.match(
    passed('openai-images', { usage: { input_tokens: 5, output_tokens: 6 }, data: [{ b64_json: long }] }),
    {
      inputTokens: 5,
      outputTokens: 6,
    },
  )
  const image = { usage: { input_tokens: 5, output_tokens: 6 }, data: [{ b64_json: long.slice(0, 100_000) }] }
  t.match(readUsage(DIALECTS['openai-images'], Buffer.from(JSON.stringify(image))), {
    images: 1,
    inputTokens: 5,
  })
})
