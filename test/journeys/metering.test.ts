import t from 'tap'
import { chat, chatStream, message, messageStream, response, responseStream } from '../support/answers.ts'
import { type Behaviour, json, raw, status } from '../support/behaviour.ts'
import { bearer, credits, openStream, post, send } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { mintToken } from '../support/gateway.ts'
import { readRows, type SeenRow, startJourney, waitForRow, waitUntil } from '../support/journey.ts'
import { chatBody, SOME_COUNTS } from '../support/openai-wire.ts'
import { controlled } from '../support/stream-behaviours.ts'

const plan = [{ provider: 'one' }]
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  entries: { two: { dialect: 'anthropic' } },
  margin: 0.5,
  models: {
    chat: { plan, price: { input: 1, cachedInput: 0.1, output: 4 } },
    claude: { plan: [{ provider: 'two' }], price: { input: 1, cachedInput: 0.1, output: 4 } },
    embed: { plan, price: { input: 0.02 } },
    image: { plan, price: { perImage: 400 } },
    speech: { plan, price: { perCharacter: 0.5 } },
    audio: { plan, price: { perSecond: 15 } },
    tokenaudio: { plan, price: { input: 2, output: 5 } },
    plain: { plan, maxOutput: 50 },
    ten: { plan, price: { input: 0, output: 1 }, maxOutput: 5000 },
    whole: { plan, price: { input: 0, output: 2 } },
  },
  env: { ANSWER_TIMEOUT_MS: '800', FIRST_BYTE_TIMEOUT_MS: '800' },
})
const { one, two } = providers
const auth = bearer(token)
const counts = { input: 100, cached: 60, output: 30, reasoning: 20 }

const form = (
  fields: Record<string, string>,
  bytes: number,
  behind: Record<string, string> = {},
): { body: Buffer; headers: Record<string, string> } => {
  const parts = (some: Record<string, string>): string =>
    Object.entries(some)
      .map(([name, value]) => `--xx\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`)
      .join('')
  const file = '--xx\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
  const body = Buffer.concat([
    Buffer.from(parts(fields) + file),
    Buffer.alloc(bytes, 'w'),
    Buffer.from(`\r\n${parts(behind)}--xx--\r\n`),
  ])
  return { body, headers: { 'content-type': 'multipart/form-data; boundary=xx' } }
}

interface Case {
  path: string
  body: object
  answer: Behaviour
  row: SeenRow
  upload?: ReturnType<typeof form>
}

const chatCounts = { input_tokens: 100, cached_tokens: 60, output_tokens: 30 }
// 40 x 1 + 60 x 0.1 + 30 x 4, and half as much again.
const CHAT_MICROS = 166 * 1.5 * 1e6
const deepSeek = {
  ...chatBody('chat', 'hi', undefined),
  usage: {
    prompt_tokens: 100,
    completion_tokens: 30,
    total_tokens: 130,
    prompt_cache_hit_tokens: 60,
    prompt_cache_miss_tokens: 40,
    completion_tokens_details: { reasoning_tokens: 20 },
  },
}
const transcript = { model: 'audio' }

const cases: Record<string, Case> = {
  chat: {
    path: '/chat/completions',
    body: { model: 'chat' },
    answer: chat({ usage: counts }),
    row: { ...chatCounts, reasoning_tokens: 20, cost_micros: CHAT_MICROS },
  },
  'chat stream': {
    path: '/chat/completions',
    body: { model: 'chat', stream: true },
    answer: chatStream({ counts }),
    row: { ...chatCounts, reasoning_tokens: 20, cost_micros: CHAT_MICROS },
  },
  DeepSeek: {
    path: '/chat/completions',
    body: { model: 'chat' },
    answer: json(deepSeek),
    row: { ...chatCounts, reasoning_tokens: 20, cost_micros: CHAT_MICROS },
  },
  responses: {
    path: '/responses',
    body: { model: 'chat' },
    answer: response({ usage: counts }),
    row: { ...chatCounts, reasoning_tokens: 20, cost_micros: CHAT_MICROS },
  },
  'responses stream': {
    path: '/responses',
    body: { model: 'chat', stream: true },
    answer: responseStream({ counts }),
    row: { ...chatCounts, reasoning_tokens: 20, cost_micros: CHAT_MICROS },
  },
  messages: {
    path: '/messages',
    body: { model: 'claude', max_tokens: 50 },
    answer: message({ usage: counts }),
    row: { ...chatCounts, cost_micros: CHAT_MICROS },
  },
  'messages stream': {
    path: '/messages',
    body: { model: 'claude', max_tokens: 50, stream: true },
    answer: messageStream({ counts }),
    row: { ...chatCounts, cost_micros: CHAT_MICROS },
  },
  'count_tokens is free': {
    path: '/messages/count_tokens',
    body: { model: 'claude' },
    answer: json({ input_tokens: 2095 }),
    row: { input_tokens: 0, cost_micros: 0 },
  },
  embeddings: {
    path: '/embeddings',
    body: { model: 'embed', input: 'x' },
    answer: json({
      object: 'list',
      data: [{ embedding: [0.1] }],
      usage: { prompt_tokens: 8, total_tokens: 8 },
    }),
    row: { input_tokens: 8, output_tokens: 0, cost_micros: 0.24e6 },
  },
  rerank: {
    path: '/rerank',
    body: { model: 'embed', query: 'x', documents: ['y'] },
    answer: json({ results: [{ index: 0, relevance_score: 0.9 }], usage: { total_tokens: 50 } }),
    row: { input_tokens: 50, cost_micros: 1.5e6 },
  },
  images: {
    path: '/images/generations',
    body: { model: 'image', prompt: 'a cat', n: 2 },
    answer: json({ created: 1, data: [{ b64_json: 'AAAA' }, { b64_json: 'BBBB' }] }),
    row: { images: 2, cost_micros: 1200e6 },
  },
  speech: {
    path: '/audio/speech',
    body: { model: 'speech', input: 'Guten Tag, schöne Welt!', voice: 'alloy' },
    answer: raw(200, { 'content-type': 'audio/mpeg' }, Buffer.alloc(50_000, 7)),
    row: { characters: 23, cost_micros: 17.25e6 },
  },
  'transcription, seconds of verbose_json': {
    path: '/audio/transcriptions',
    body: transcript,
    upload: form(transcript, 60_000),
    answer: json({ task: 'transcribe', language: 'english', duration: 12.5, text: 'Hello' }),
    row: { seconds: 12.5, cost_micros: 281.25e6 },
  },
  'transcription, seconds of its usage': {
    path: '/audio/transcriptions',
    body: transcript,
    upload: form(transcript, 60_000),
    answer: json({ text: 'Hello', usage: { type: 'duration', seconds: 9 } }),
    row: { seconds: 9, cost_micros: 202.5e6 },
  },
  'transcription, by tokens': {
    path: '/audio/transcriptions',
    body: transcript,
    upload: form({ model: 'tokenaudio' }, 60_000),
    answer: json({
      text: 'Hello',
      usage: { type: 'tokens', input_tokens: 14, output_tokens: 45, total_tokens: 59 },
    }),
    row: { input_tokens: 14, output_tokens: 45, cost_micros: 379.5e6 },
  },
}

const sendCase = ({
  path,
  body = {},
  upload,
}: Pick<Case, 'path' | 'upload'> & { body?: object | undefined }) => {
  const sent = upload ?? { body, headers: {} }
  const headers = { ...auth, ...sent.headers }
  return send(gateway, { method: 'POST', path: `/v1${path}`, body: sent.body, headers })
}

t.test('each endpoint is counted by its provider’s report and charged at its own price', async (t) => {
  for (const [name, { path, body, answer, row, upload }] of Object.entries(cases)) {
    one.answer(answer)
    two.answer(answer)
    const reply = await sendCase({ path, body, upload })
    t.equal(reply.status, 200, name)
    const id = String(reply.headers['x-request-id'])
    const seen = await waitForRow(gateway, id)
    t.match(
      seen,
      { ...row, charged_micros: row.cost_micros, estimated: 0, endpoint: path, status: 200 },
      name,
    )
    const charged = reply.headers['x-gateway-credits-charged']
    if (charged !== undefined) t.equal(Number(charged) * 1e6, row.cost_micros, name)
  }
})

t.test('a row says who asked for what, who answered, how long it took and when', async (t) => {
  one.answer(chat({ usage: counts }))
  const before = Date.now()
  const reply = await post(
    gateway,
    '/v1/chat/completions',
    { model: 'chat' },
    { ...auth, 'x-request-id': 'my-id' },
  )
  t.equal(reply.headers['x-request-id'], 'my-id')
  const row = await waitForRow(gateway, 'my-id')
  t.match(row, {
    user: 'testuser',
    model: 'chat',
    provider: 'one',
    model_used: 'chat',
    attempts: 1,
    estimated: 0,
  })
  t.ok(Number(row.time) >= before - 5 && Number(row.time) <= Date.now())
  t.ok(Number(row.first_byte_ms) <= Number(row.latency_ms) && Number(row.latency_ms) < 5000)
})

t.test('what no provider counted is counted here, marked, and charged', async (t) => {
  const hello = { messages: [{ role: 'user', content: 'one two three four five' }] }
  one.answer(chat({ usage: false, content: 'one two three' }))
  const reply = await post(gateway, '/v1/chat/completions', { model: 'chat', ...hello }, auth)
  const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
  t.match(row, { estimated: 1, output_tokens: 3 })
  t.ok(Number(row.input_tokens) >= 5 && Number(row.input_tokens) < 30)
  one.answer(raw(200, { 'content-type': 'text/plain' }, '1\n00:00:00 --> 00:00:09\nHello\n'))
  const upload = form({ model: 'audio', response_format: 'srt' }, 80_000)
  const audio = await post(gateway, '/v1/audio/transcriptions', upload.body, { ...auth, ...upload.headers })
  const heard = await waitForRow(gateway, String(audio.headers['x-request-id']))
  t.match(heard, { estimated: 1, status: 200 })
  t.ok(Number(heard.seconds) >= 5 && Number(heard.seconds) <= 40, `${heard.seconds} seconds`)
})

const WORDS = 'one two three four five'
const picture = { created: 1, data: [{ b64_json: 'AAAA' }] }
const prompted = { model: 'plain', prompt: WORDS }
const unprompted = { model: 'plain' }
const spoken = { text: WORDS, usage: { type: 'duration', seconds: 9 } }
const [generations, edits] = ['/images/generations', '/images/edits']
const transcriptions = '/audio/transcriptions'
const asText = { 'content-type': 'text/plain' }
const asEvents = (...events: object[]): Behaviour =>
  raw(
    200,
    { 'content-type': 'text/event-stream' },
    events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''),
  )

/** At the default of one credit for each LLM token, which none of these answers reports. */
const unreported: Record<string, Omit<Case, 'body'> & { body?: object }> = {
  'an image': {
    path: generations,
    body: prompted,
    answer: json(picture),
    row: { input_tokens: 5, images: 1 },
  },
  'an image, with an empty report': {
    path: generations,
    body: prompted,
    answer: json({ ...picture, usage: { input_tokens: 0, output_tokens: 0 } }),
    row: { input_tokens: 5, images: 1 },
  },
  'an edit': { path: edits, upload: form(prompted, 9), answer: json(picture), row: { input_tokens: 1005 } },
  'an edit, its prompt behind a file that streams': {
    path: edits,
    upload: form({ model: 'plain', n: '1' }, 2 ** 21, { prompt: WORDS }),
    answer: json(picture),
    row: { input_tokens: 1005 },
  },
  'a variation': {
    path: '/images/variations',
    upload: form(unprompted, 9),
    answer: json(picture),
    row: { input_tokens: 1000, images: 1 },
  },
  'a transcript by its seconds': {
    path: transcriptions,
    upload: form(prompted, 9),
    answer: json(spoken),
    row: { input_tokens: 5, output_tokens: 5, seconds: 9 },
  },
  'a transcript by its duration': {
    path: transcriptions,
    upload: form(unprompted, 9),
    answer: json({ text: WORDS, duration: 8.5 }),
    row: { input_tokens: 0, output_tokens: 5, seconds: 8.5 },
  },
  'a translation': {
    path: '/audio/translations',
    upload: form(prompted, 9),
    answer: json({ text: WORDS }),
    row: { input_tokens: 5, output_tokens: 5 },
  },
  'a transcript as plain text': {
    path: transcriptions,
    upload: form(unprompted, 9),
    answer: raw(200, asText, WORDS),
    row: { output_tokens: 5 },
  },
  'a streamed transcript': {
    path: transcriptions,
    upload: form(unprompted, 9),
    answer: asEvents(
      { type: 'transcript.text.delta', delta: WORDS },
      { type: 'transcript.text.done', ...spoken },
    ),
    row: { output_tokens: 5, seconds: 9 },
  },
  // Of 60,000 bytes at 8,000 a second, with four tokens each.
  'a transcript too long to be kept': {
    path: transcriptions,
    upload: form(unprompted, 60_000),
    answer: raw(200, asText, `${WORDS} `.repeat(15_000)),
    row: { output_tokens: 32 },
  },
  speech: {
    path: '/audio/speech',
    body: { model: 'plain', input: WORDS, voice: 'alloy' },
    answer: raw(200, { 'content-type': 'audio/mpeg' }, 'mp3'),
    row: { input_tokens: 5, characters: 23 },
  },
}

t.test('LLM tokens of images and audio are counted here when nobody reports them', async (t) => {
  for (const [name, { path, body, answer, row, upload }] of Object.entries(unreported)) {
    one.answer(answer)
    const reply = await sendCase({ path, body, upload })
    t.equal(reply.status, 200, name)
    const { input_tokens: input = 0, output_tokens: output = 0 } = row
    const micros = (Number(input) + Number(output)) * 1.5e6
    const seen = await waitForRow(gateway, String(reply.headers['x-request-id']))
    t.match(seen, { output_tokens: 0, ...row, estimated: 1, charged_micros: micros }, name)
  }
})

t.test('a transcript that is reported by its LLM tokens alone costs the seconds of its upload', async (t) => {
  const usage = { type: 'tokens', input_tokens: 30, output_tokens: 5, total_tokens: 35 }
  const answers = {
    plain: json({ text: WORDS, usage }),
    streamed: asEvents({ type: 'transcript.text.done', text: WORDS, usage }),
  }
  for (const [name, answer] of Object.entries(answers)) {
    one.answer(answer)
    const reply = await sendCase({ path: transcriptions, upload: form({ model: 'audio' }, 80_000) })
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    // 80,000 bytes at 8,000 a second, and the form around them.
    t.match(row, { estimated: 1, seconds: 11, charged_micros: 11 * 22.5e6, output_tokens: 5 }, name)
  }
})

t.test('a price for one unit makes nothing free that is counted in another', async (t) => {
  const chatted = { path: '/chat/completions', answer: chat({ usage: counts }) }
  const table: [string, Pick<Case, 'path' | 'answer'>, number][] = [
    ...['image', 'speech', 'audio'].map((model): (typeof table)[number] => [model, chatted, 195]),
    ['image', { path: '/embeddings', answer: json({ data: [], usage: { prompt_tokens: 8 } }) }, 12],
    ['audio', { path: generations, answer: json(picture) }, 7.5],
    ['audio', { path: '/audio/speech', answer: raw(200, { 'content-type': 'audio/mpeg' }, 'mp3') }, 7.5],
  ]
  for (const [model, { path, answer }, charged] of table) {
    one.answer(answer)
    const reply = await post(gateway, `/v1${path}`, { model, prompt: WORDS }, auth)
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    t.match(row, { status: 200, charged_micros: charged * 1e6 }, `${model} ${path}`)
  }
})

t.test('every request leaves one row, however it ends, and nothing held', async (t) => {
  const rowsBefore = readRows(gateway).length
  const ends: Record<string, [Behaviour, number]> = {
    success: [chat(), 200],
    'provider 400': [status(400), 400],
    'provider 500': [status(500), 502],
    reset: [faults.resetBeforeAnswer(), 502],
    timeout: [faults.hang(), 504],
    'not json': [raw(200, { 'content-type': 'application/json' }, '{"broken'), 502],
    'empty answer': [raw(200, { 'content-type': 'application/json' }, ''), 502],
    'no content type': [raw(200, {}, 'hello'), 502],
    'nothing in it': [raw(200, { 'content-type': 'application/json' }, '{}'), 502],
    'odd status': [json(chatBody('chat', 'Hello!', SOME_COUNTS), { status: 299 }), 299],
  }
  for (const [name, [answer, code]] of Object.entries(ends)) {
    one.answer(answer)
    const reply = await post(gateway, '/v1/chat/completions', { model: 'chat' }, auth)
    t.equal(reply.status, code, name)
    t.match(await waitForRow(gateway, String(reply.headers['x-request-id'])), { status: code }, name)
  }
  const endless = controlled()
  one.queue(endless)
  const stream = await openStream(gateway, {
    path: '/v1/chat/completions',
    headers: auth,
    body: { model: 'chat', stream: true },
  })
  await endless.write('data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
  stream.abort()
  t.match(await waitForRow(gateway, String(stream.headers['x-request-id'])), { status: 499, estimated: 1 })
  const rows = readRows(gateway)
  t.equal(rows.length - rowsBefore, Object.keys(ends).length + 1)
  t.equal(new Set(rows.map((row) => row.request_id)).size, rows.length)
  t.equal((await credits(gateway, token)).held, 0)
})

t.test('what is refused before a provider is asked leaves neither a row nor a hold', async (t) => {
  const rowsBefore = readRows(gateway).length
  for (const body of ['{', '{}', '{"model":1}']) await post(gateway, '/v1/chat/completions', body, auth)
  await post(gateway, '/v1/chat/completions', { model: 'unheard-of' }, auth)
  t.equal(readRows(gateway).length, rowsBefore)
})

t.test('of a hundred requests at once on a balance for ten, exactly ten pass', async (t) => {
  const poor = await mintToken(t, gateway, { user: 'poor', credits: 1000 })
  // Each may cost 33 x 2 credits and half as much again.
  const body = { model: 'whole', max_tokens: 33 }
  const asked = one.requests.length
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  one.answer({ act: (call) => held.then(() => chat({ usage: { input: 0, output: 33 } }).act(call)) })
  const refusals: number[] = []
  const all = Array.from({ length: 100 }, async () => {
    const reply = await post(gateway, '/v1/chat/completions', body, bearer(poor))
    if (reply.status === 429) {
      refusals.push(reply.status)
      t.match(reply.headers, { 'x-should-retry': 'false' })
      t.match(reply.json(), { error: { code: 'insufficient_quota', type: 'insufficient_quota' } })
      if (refusals.length === 90) release()
    }
    return reply
  })
  const replies = await Promise.all(all)
  t.equal(replies.filter((reply) => reply.status === 200).length, 10)
  t.equal(one.requests.length - asked, 10)
  t.same(await credits(gateway, poor), { credited: 1000, balance: 10, held: 0, charged: 990 })
  t.match(await post(gateway, '/v1/chat/completions', body, bearer(poor)), { status: 429 })
})

t.test('credited = balance + held + charged at every moment of a running load', async (t) => {
  const busy = await mintToken(t, gateway, { user: 'busy', credits: 20_000 })
  let n = 0
  one.answer(() => {
    n += 1
    const answers = [
      chat({ usage: counts }),
      status(500),
      status(400),
      chatStream({ counts, delayMs: 2 }),
      chat({ usage: false }),
    ]
    return answers[n % answers.length] ?? status(500)
  })
  let running = true
  const load = Array.from({ length: 20 }, async (_, lane) => {
    for (let i = 0; i < 15; i++) {
      const body = { model: 'ten', max_tokens: 50 + lane, stream: i % 2 === 0 }
      const stream = await openStream(gateway, { path: '/v1/chat/completions', headers: bearer(busy), body })
      if (i % 7 === 3) stream.abort()
      else await stream.rest()
    }
  })
  const watch = async (): Promise<number> => {
    let looks = 0
    for (; running; looks++) {
      const now = await credits(gateway, busy)
      const sum = Math.round((now.balance + now.held + now.charged) * 1e6)
      if (sum !== 20_000e6 || now.balance < 0 || now.held < 0) t.fail(JSON.stringify(now))
    }
    return looks
  }
  const watching = watch()
  await Promise.all(load)
  running = false
  t.ok((await watching) > 10)
  const end = await waitUntil(
    () => credits(gateway, busy),
    (now) => now.held === 0,
  )
  const rows = await waitUntil(
    () => readRows(gateway).filter((row) => row.user === 'busy'),
    (seen) => seen.length === 300,
  )
  const charged = rows.reduce((sum, row) => sum + Number(row.charged_micros), 0)
  t.equal(Math.round(end.charged * 1e6), charged)
  t.equal(end.balance, 20_000 - end.charged)
})
