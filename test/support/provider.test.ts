import { get as getTls } from 'node:https'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { chat, chatStream, messageStream, responseStream } from './answers.ts'
import { json, status } from './behaviour.ts'
import { makeCertificates } from './certificates.ts'
import { get, openStream, post, rawRequest } from './client.ts'
import * as faults from './faults.ts'
import { unusedPort } from './ports.ts'
import { startProvider } from './provider.ts'
import { controlled, cutEvent, endless } from './stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const asked = { model: 'm', stream: true, stream_options: { include_usage: true } }
const notAsked = { model: 'm', stream: true }
const streamed = { path: CHAT, body: asked }

t.test('a provider answers in the kind of its path, and shows what it was asked', async (t) => {
  const provider = await startProvider(t)
  const reply = await post(provider, CHAT, '{"model":"m","n":1.0}', { 'x-odd': 'yes' })
  t.match(reply.json(), { object: 'chat.completion', model: 'm', usage: { prompt_tokens: 12 } })
  const seen = await provider.waitForRequest()
  t.match(seen, { method: 'POST', url: CHAT, complete: true, aborted: false, headers: { 'x-odd': 'yes' } })
  t.equal(seen.body.toString(), '{"model":"m","n":1.0}')
  t.match((await post(provider, '/v1/messages', { model: 'c' })).json(), { type: 'message' })
  t.match((await post(provider, '/v1/responses', { model: 'r' })).json(), { object: 'response' })
  t.equal(provider.connections, 3)
})

t.test('queued answers come first, then the standing one, chosen by request if it likes', async (t) => {
  const provider = await startProvider(t)
  provider.queue(status(503, { 'retry-after': '2' }), json('{"a":1.0}'))
  provider.answer((seen) => chat({ content: seen.json().say }))
  const first = await post(provider, CHAT, {})
  t.match([first.status, first.headers['retry-after']], [503, '2'])
  t.equal((await post(provider, CHAT, {})).text, '{"a":1.0}')
  const third = await post(provider, CHAT, { say: 'echo' })
  t.equal(third.json().choices[0].message.content, 'echo')
})

t.test(
  'the extra usage chunk comes only when asked for, unless the provider is of another kind',
  async (t) => {
    const provider = await startProvider(t)
    const extra = async (body: object) => (await post(provider, CHAT, body)).text.includes('"choices":[]')
    provider.answer(chatStream())
    t.same([await extra(asked), await extra(notAsked)], [true, false])
    provider.answer(chatStream({ usage: 'always' }))
    t.equal(await extra(notAsked), true)
    provider.answer(chatStream({ usage: false, done: false }))
    const bare = (await post(provider, CHAT, asked)).text
    t.notMatch(bare, /usage|DONE/)
    provider.answer(chatStream({ usage: 'in-finish' }))
    t.match(
      (await post(provider, CHAT, notAsked)).text,
      /"finish_reason":"stop"}\],"usage":{"prompt_tokens":12/,
    )
  },
)

t.test('however a stream is cut into pieces, its bytes are the same', async (t) => {
  const provider = await startProvider(t)
  const plain = (await post(provider, CHAT, asked)).text
  for (const chunking of ['bytes', 'split-utf8', 7] as const) {
    provider.answer(chatStream({ chunking }))
    const stream = await openStream(provider, streamed)
    const pieces: Buffer[] = []
    for await (const { bytes } of stream) pieces.push(bytes)
    t.equal(Buffer.concat(pieces).toString(), plain, String(chunking))
    t.ok(pieces.length > 8, `${pieces.length} pieces`)
  }
  const letters = cutEvent('data: ö👋\n\n', 'split-utf8')
  t.same(
    letters.map((piece) => piece.toString().includes('\ufffd')),
    [true, true, true],
  )
  provider.answer(chatStream({ gzip: true }))
  const zipped = await post(provider, CHAT, asked)
  t.equal(zipped.headers['content-encoding'], 'gzip')
  t.equal(gunzipSync(zipped.body).toString(), plain)
})

t.test('the other dialects stream their own events, usage included', async (t) => {
  const provider = await startProvider(t)
  provider.queue(messageStream({ counts: { input: 5, output: 3 } }), responseStream())
  const message = (await post(provider, '/v1/messages', notAsked)).text
  t.match(message, /^event: message_start\ndata: {"type":"message_start".*"input_tokens":5/)
  t.match(message, /"usage":{"output_tokens":3}}\n\nevent: message_stop/)
  t.match(
    (await post(provider, '/v1/responses', notAsked)).text,
    /"type":"response.completed".*"total_tokens":19/,
  )
})

t.test('a controlled stream sends what the test says, when it says it', async (t) => {
  const provider = await startProvider(t)
  const stream = controlled()
  provider.queue(stream)
  const opened = await openStream(provider, streamed)
  const pieces = opened[Symbol.asyncIterator]()
  await stream.write('data: 1\n\n')
  t.equal((await pieces.next()).value.bytes.toString(), 'data: 1\n\n')
  await stream.write('data: 2\n\n')
  t.equal((await pieces.next()).value.bytes.toString(), 'data: 2\n\n')
  await stream.reset()
  await t.rejects(pieces.next(), { code: 'ECONNRESET' })
  t.equal((await provider.waitForRequest()).aborted, false, 'its own reset is no abort')
})

t.test('a caller that leaves is seen as an abort', async (t) => {
  const provider = await startProvider(t)
  provider.queue(endless(), faults.hang())
  const opened = await openStream(provider, streamed)
  for await (const _ of opened) break
  opened.abort()
  t.equal(await provider.waitForAbort(), provider.requests[0])
  const hanging = openStream(provider, streamed)
  await provider.waitForRequest(2)
  t.equal(provider.requests[1]?.aborted, false)
  await provider.close()
  await t.rejects(hanging)
})

t.test('a connection is cut at the very byte', async (t) => {
  const provider = await startProvider(t)
  const whole = json({ answer: 'x'.repeat(50) })
  const request = `GET / HTTP/1.1\r\nhost: x\r\n\r\n`
  for (const n of [0, 1, 9, 200]) {
    provider.answer(faults.resetAtByte(n, whole))
    t.equal((await rawRequest(provider.port, request)).length, n, `${n} bytes of the wire`)
  }
  for (const inner of [whole, chatStream()]) {
    provider.answer(faults.resetAtBodyByte(11, inner))
    const rest = await (await openStream(provider, streamed)).rest()
    t.same([rest.text.length, rest.cut], [11, true])
  }
  t.notOk(provider.requests.some((seen) => seen.aborted))
})

t.test('each fault breaks an HTTP client in its own way', async (t) => {
  const provider = await startProvider(t)
  const failing = {
    HPE_INVALID_CONSTANT: faults.garbage(),
    ECONNRESET: faults.wrongLength(),
    HPE_HEADER_OVERFLOW: faults.hugeHeader(),
  }
  for (const [code, fault] of Object.entries(failing)) {
    provider.queue(fault)
    await t.rejects(get(provider, '/'), { code }, code)
  }
  provider.queue(faults.badChunk(), faults.resetBeforeAnswer())
  await t.rejects(get(provider, '/'), { message: 'aborted' })
  await t.rejects(get(provider, '/'), { code: 'ECONNRESET' })
  provider.queue(faults.redirect('http://elsewhere.test/'), faults.html200(), faults.slowBody(1, { a: 1 }))
  t.equal((await get(provider, '/')).headers.location, 'http://elsewhere.test/')
  t.match((await get(provider, '/')).headers['content-type'], 'text/html')
  t.equal((await get(provider, '/')).text, '{"a":1}')
  provider.queue(faults.hangAfterHeaders())
  const opened = await openStream(provider, streamed)
  t.equal(opened.status, 200)
  opened.abort()
  await provider.waitForAbort()
  await t.rejects(get({ port: await unusedPort() }, '/'), { code: 'ECONNREFUSED' })
})

t.test('a hasty provider answers before the body is there', async (t) => {
  const provider = await startProvider(t)
  provider.queue(faults.early(status(413)))
  const head = `POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n`
  t.match(await rawRequest(provider.port, head), /^HTTP\/1.1 413/)
})

t.test('each bad certificate is refused for its own reason, the good one accepted', async (t) => {
  const made = await makeCertificates()
  const tries = {
    expired: 'CERT_HAS_EXPIRED',
    wrongName: 'ERR_TLS_CERT_ALTNAME_INVALID',
    selfSigned: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    good: 200,
  } as const
  for (const [kind, expected] of Object.entries(tries)) {
    const tls = made[kind as keyof typeof tries]
    const provider = await startProvider(t, { tls, host: 'localhost' })
    const outcome = await new Promise((resolve) => {
      getTls(`${provider.url}/models`, { ca: made.authority, agent: false }, (res) => {
        res.resume()
        resolve(res.statusCode)
      }).on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
    })
    t.equal(outcome, expected, kind)
    t.equal(provider.requests.length, kind === 'good' ? 1 : 0)
  }
})
