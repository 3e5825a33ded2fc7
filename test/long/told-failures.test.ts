import t from 'tap'
import { chat, chatStream, messageStream, responseStream } from '../support/answers.ts'
import { type Behaviour, json } from '../support/behaviour.ts'
import { bearer, credits, openStream, type Piece, post } from '../support/client.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney, waitForRow, waitUntil } from '../support/journey.ts'
import { chatBody, chatEvents, SOME_COUNTS } from '../support/openai-wire.ts'
import { controlled, sse } from '../support/stream-behaviours.ts'
import {
  behindComments,
  ERROR_EVENT,
  pausing,
  pausingJson,
  ROLE_EVENT,
  TOLD_CHAT,
  TOLD_MESSAGES,
  TOLD_RESPONSES,
  TOLD_WHOLE,
} from '../support/told-failures.ts'

const CHAT = '/v1/chat/completions'
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two', 'claude', 'sonnet'],
  entries: { claude: { dialect: 'anthropic' }, sonnet: { dialect: 'anthropic' } },
  models: {
    lone: 'one',
    pair: ['one', 'two'],
    'claude-*': ['claude', 'sonnet'],
    '*': ['one', 'two'],
  },
  env: { SSE_HEARTBEAT_MS: '400' },
})
const { one, two, claude, sonnet } = providers
let names = 0
/** Rests are kept by provider and model: a name of its own for each keeps them apart. */
const fresh = () => `model-${names++}`
const hello = { messages: [{ role: 'user', content: 'hello' }] }
const stream = async (model: string, path = CHAT, more: object = {}) => {
  const body = { model, stream: true, ...hello, ...more }
  const opened = await openStream(gateway, { path, headers: bearer(token), body })
  const from = performance.now()
  return {
    status: opened.status,
    headers: opened.headers,
    ...(await opened.rest()),
    ms: performance.now() - from,
  }
}

t.test(
  'a whole answer that tells of its own failure is asked for elsewhere, and costs nothing',
  async (t) => {
    for (const [name, failure] of Object.entries(TOLD_WHOLE)) {
      one.queue(failure)
      two.queue(chat())
      const reply = await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))
      t.match(
        reply,
        { status: 200, headers: { 'x-gateway-provider': 'two', 'x-gateway-attempts': '2' } },
        name,
      )
      t.equal(reply.json().choices[0].message.content, 'Hello!', name)
      t.equal(reply.headers['x-gateway-credits-charged'], '19', name)
      one.queue(chat({ status: 503 }))
      two.queue(failure)
      const alone = await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))
      t.ok([502, 429].includes(alone.status), `${name}: ${alone.status}`)
      const row = await waitForRow(gateway, String(alone.headers['x-request-id']))
      t.match(row, { charged_micros: 0, provider: '', attempts: 2 }, name)
    }
  },
)

t.test('a request that all of a plan blame inside a 200 is the client’s to change', async (t) => {
  for (const blame of [
    { message: 'This endpoint takes 8,192 tokens at most', code: 400 },
    { message: 'too long', type: 'invalid_request_error', code: 'context_length_exceeded' },
  ]) {
    one.queue(json({ error: blame }))
    two.queue(json({ error: blame }))
    const refused = await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))
    t.match(refused, { status: 400, headers: { 'x-should-retry': 'false', 'x-gateway-attempts': '2' } })
    t.match(refused.json(), { error: { code: 'invalid_request', message: /refused this request as it is/ } })
    one.queue(chat({ status: 503 }))
    two.queue(json({ error: blame }))
    t.equal((await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))).status, 502)
  }
  // Whose key it is says whose fault it is.
  const ours = json({ error: { message: 'Incorrect API key provided: sk-ab***yz', code: 400 } })
  one.queue(ours)
  two.queue(ours)
  t.equal((await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))).status, 502)
})

t.test('blank lines keep a whole answer alive, and another provider may answer behind them', async (t) => {
  const blanks = '\n\n\n'
  for (const failure of ['', JSON.stringify({ error: { message: 'no', code: 500 } })]) {
    one.queue(pausingJson(blanks, failure))
    two.queue(chat())
    const reply = await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))
    t.match(reply.text, /^\n{3}\{/)
    t.equal(reply.json().choices[0].message.content, 'Hello!')
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    t.match(row, { provider: 'two', attempts: 2, charged_micros: 19e6, estimated: 0 })
  }
  one.queue(pausingJson(blanks, JSON.stringify(chatBody('m', 'Hello!', SOME_COUNTS))))
  t.match((await post(gateway, CHAT, { model: fresh(), ...hello }, bearer(token))).text, /^\n{3}\{/)
})

async function textOf(pieces: AsyncIterator<Piece>): Promise<string> {
  let text = ''
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) text += next.value.bytes
  return text
}

const KINDS: [string, string, Readonly<Record<string, Behaviour>>, () => Behaviour][] = [
  ['Chat Completions', CHAT, TOLD_CHAT, chatStream],
  ['Messages', '/v1/messages', TOLD_MESSAGES, messageStream],
  ['Responses', '/v1/responses', TOLD_RESPONSES, responseStream],
]
for (const [format, path, failures, whole] of KINDS) {
  const isClaude = path === '/v1/messages'
  const [first, second] = isClaude ? [claude, sonnet] : [one, two]
  t.test(`a stream of ${format} that fails before its first output is asked for elsewhere`, async (t) => {
    for (const [name, failure] of Object.entries(failures)) {
      first.queue(failure)
      second.queue(whole())
      const model = isClaude ? `claude-${fresh()}` : fresh()
      const seen = await stream(model, path)
      const provider = isClaude ? 'sonnet' : 'two'
      t.match(seen, { status: 200, cut: false, headers: { 'x-gateway-provider': provider } }, name)
      t.notMatch(seen.text, /server_error|overloaded|PROCESSING/i, `${name}: nothing of the failure is seen`)
      const row = await waitForRow(gateway, String(seen.headers['x-request-id']))
      t.match(row, { provider, attempts: 2, estimated: 0 }, name)
      // It answers again, and does not rest.
      first.queue(whole())
      await stream(model, path)
    }
  })
}

t.test('comments go ahead and end nothing: another provider may still answer behind them', async (t) => {
  one.queue(behindComments(600, [ERROR_EVENT]))
  two.queue(chatStream())
  const seen = await stream(fresh())
  t.match(seen, { status: 200, cut: false })
  t.match(seen.text, /^(?:: PROCESSING\n\n){3,}data: /)
  t.notMatch(seen.text, /error/)
  t.match(await waitForRow(gateway, String(seen.headers['x-request-id'])), { provider: 'two', attempts: 2 })
})

t.test('what a client was told has begun is not begun again, and costs nothing when it fails', async (t) => {
  one.queue(pausing([ROLE_EVENT], 700, [ERROR_EVENT]))
  const asked = two.requests.length
  const seen = await stream(fresh())
  t.match(seen, { status: 200, cut: true, headers: { 'x-gateway-provider': 'one' } })
  t.match(seen.text, /"role":"assistant"[\s\S]*"code":"upstream_failed"/)
  t.notMatch(seen.text, /The server had an error/)
  t.equal(two.requests.length, asked)
  t.match(await waitForRow(gateway, String(seen.headers['x-request-id'])), { charged_micros: 0, status: 502 })
})

t.test('a beginning that waits leaves with its first output, in its order', async (t) => {
  const provider = controlled()
  one.queue(provider)
  const opening = openStream(gateway, {
    path: CHAT,
    headers: bearer(token),
    body: { model: 'lone', stream: true },
  })
  await provider.write(ROLE_EVENT)
  await provider.write('data: {"choices":[{"index":0,"delta":{"content":"so"}}]}\n\n')
  const pieces = (await opening)[Symbol.asyncIterator]()
  const { value } = await pieces.next()
  t.match(String(value?.bytes), /role[\s\S]*"so"/)
  await provider.end()
  await textOf(pieces)
})

t.test('failures that are told count in a provider’s health', async (t) => {
  const model = fresh()
  const other = await mintToken(t, gateway)
  one.answer(json({ error: { message: 'no', code: 500 } }))
  two.answer(chat())
  for (let i = 0; i < 12; i++)
    await post(gateway, CHAT, { model, ...hello }, bearer(i % 2 === 0 ? token : other))
  const reply = await post(gateway, CHAT, { model, ...hello }, bearer(token))
  t.match(reply.headers, { 'x-gateway-provider': 'two', 'x-gateway-attempts': '1' })
  one.answer(chat())
})

t.test('events under another media type pass as they come, and are read as events', async (t) => {
  for (const type of ['application/json', 'text/plain', '']) {
    const provider = controlled({ headers: { 'content-type': type } })
    one.queue(provider)
    const opening = openStream(gateway, {
      path: CHAT,
      headers: bearer(token),
      body: { model: fresh(), stream: true, ...hello },
    })
    const events = chatEvents({
      model: 'm',
      words: ['a', 'b'],
      usageAt: 'separate',
      usage: SOME_COUNTS,
      usageNull: false,
      done: true,
    })
    await provider.write(events.slice(0, 2).join(''))
    const opened = await opening
    t.match(opened.headers['content-type'], /^text\/event-stream/, type)
    const pieces = opened[Symbol.asyncIterator]()
    const { value } = await pieces.next()
    t.match(String(value?.bytes), /"a"/, 'at once')
    await provider.write(events.slice(2).join(''))
    await provider.end()
    t.notMatch(await textOf(pieces), /prompt_tokens/, 'nobody asked for the usage chunk')
    const row = await waitForRow(gateway, String(opened.headers['x-request-id']))
    t.match(row, { input_tokens: SOME_COUNTS.input, output_tokens: SOME_COUNTS.output, estimated: 0 }, type)
  }
})

t.test('a silent stream gets signs of life that clients pass over', async (t) => {
  const words = { model: 'm', usageAt: 'nowhere', usage: SOME_COUNTS, usageNull: false, done: true } as const
  const [role = '', first = '', ...rest] = chatEvents({ ...words, words: ['so'] })
  one.queue(pausing([role, first], 1500, rest))
  const seen = await stream(fresh())
  t.match(seen.text, /"so"[\s\S]*\n\n(?:: keep-alive\n\n){2,4}data: /)
  t.notOk(seen.cut)
  one.queue(pausing([], 1500, [role, first, ...rest]))
  t.match((await stream(fresh())).text, /^(?:: keep-alive\n\n){1,4}data: /)
  claude.queue(pausing(['event: message_start\ndata: {"type":"message_start","message":{}}\n\n'], 1500, []))
  t.match((await stream('claude-x', '/v1/messages')).text, /event: ping\ndata: \{"type": "ping"\}\n\n/)
  // In the middle of an event nothing may stand.
  one.queue(pausing([role, first, 'data: {"choices":[{"del'], 1500, ['ta":{"content":"x"}}]}\n\n', ...rest]))
  const asked = { stream_options: { include_usage: true } }
  t.notMatch((await stream(fresh(), CHAT, asked)).text, /keep-alive/)
  const compressed = sse([role, first, ...rest], { gzip: true, delayMs: 600 })
  one.queue(compressed)
  t.notOk((await stream(fresh())).cut)
})

t.test('nothing is left held', async (t) => {
  const { held } = await waitUntil(
    () => credits(gateway, token),
    (seen) => seen.held === 0,
  )
  t.equal(held, 0)
})
