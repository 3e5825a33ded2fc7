import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { bearer, credits, post } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { codeOf } from '../support/hostile.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'

const MIB = 1024 * 1024
const CHAT = '/v1/chat/completions'
const CODINGS = {
  gzip: gzipSync,
  'x-gzip': gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
}

const provider = await startProvider(t)
const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
  env: {
    ...providerKeys('main'),
    RATE_LIMIT_PER_MINUTE: '100000',
    BODY_MEMORY_BYTES: String(64 * MIB),
    MAX_JSON_BYTES: String(4 * MIB),
    PASSTHROUGH_PATHS: '/v1/files',
  },
})
const token = await mintToken(t, gateway, { credits: 100_000_000 })
const metrics = async () =>
  (
    await fetch(`http://127.0.0.1:${gateway.port}/metrics`, {
      headers: { authorization: `Bearer ${gateway.masterToken}` },
    })
  ).text()

const bodyOf = (letters: number) =>
  JSON.stringify({
    model: 'm',
    max_tokens: 5,
    messages: [{ role: 'user', content: 'wörd '.repeat(letters / 5) }],
  })
/** Letters that no coding makes much shorter. */
const noise = (bytes: number) => {
  const content = randomBytes((bytes * 3) / 4).toString('base64')
  return JSON.stringify({ model: 'm', max_tokens: 5, messages: [{ role: 'user', content }] })
}
const send = (coding: string, body: Buffer | string) =>
  post(gateway, CHAT, body, { ...bearer(token), 'content-encoding': coding })

t.test("a body in each coding is the provider's in plain", async (t) => {
  for (const [coding, encode] of Object.entries(CODINGS)) {
    for (const body of [bodyOf(50), bodyOf(300_000), noise(200_000)]) {
      const asked = provider.requests.length
      provider.queue(chat({ model: 'm' }))
      const reply = await send(coding, encode(Buffer.from(body)))
      t.equal(reply.status, 200, `${coding}: ${reply.text.slice(0, 200)}`)
      const seen = provider.requests[asked]
      t.ok(seen?.body.equals(Buffer.from(body)), `${coding}: ${body.length} bytes come as they were`)
      t.equal(seen?.headers['content-encoding'], undefined, coding)
      t.equal(Number(seen?.headers['content-length']), Buffer.byteLength(body), coding)
    }
  }
  const upper = await send('GZIP', gzipSync(bodyOf(50)))
  t.equal(upper.status, 200, 'in any letter case')
  t.equal((await send('identity', bodyOf(50))).status, 200, 'identity is no coding')
})

t.test('an unknown coding, or one upon another, is told what is taken', async (t) => {
  const asked = provider.requests.length
  for (const coding of ['compress', 'gzip, br', 'gzip, gzip', '__proto__', 'constructor', '']) {
    const reply = await send(coding, gzipSync(bodyOf(50)))
    t.match([reply.status, codeOf(reply.text)], [415, 'unsupported_media_type'], coding)
    t.match(reply.json().error.message, /gzip, deflate, br and zstd/, coding)
  }
  const form = await post(gateway, '/v1/images/edits', gzipSync('--x--'), {
    ...bearer(token),
    'content-type': 'multipart/form-data; boundary=x',
    'content-encoding': 'gzip',
  })
  t.match([form.status, codeOf(form.text)], [415, 'unsupported_media_type'], 'a form')
  t.equal(provider.requests.length, asked, 'nobody was asked')
})

t.test("bytes that are not in their coding are the client's mistake", async (t) => {
  const asked = provider.requests.length
  for (const [coding, encode] of Object.entries(CODINGS)) {
    const whole = encode(Buffer.from(bodyOf(5_000)))
    for (const [name, bytes] of Object.entries({
      nonsense: Buffer.from('nonsense nonsense'),
      cut: whole.subarray(0, whole.length - 6),
      nothing: Buffer.alloc(0),
    })) {
      const reply = await send(coding, bytes)
      t.ok(
        reply.status === 400 || (name === 'nothing' && reply.status === 415),
        `${coding} ${name}: ${reply.status} ${reply.text}`,
      )
    }
  }
  const reply = await send('gzip', gzipSync('{"model":"m","Model":"n"}'))
  t.match([reply.status, codeOf(reply.text)], [400, 'invalid_json'], 'what is decoded is checked')
  t.equal(provider.requests.length, asked, 'nobody was asked')
})

t.test('a bomb ends early with 413, however it is packed', async (t) => {
  const asked = provider.requests.length
  const before = await credits(gateway, token)
  const zeros = Buffer.alloc(64 * MIB, 0x20)
  for (const [coding, encode] of Object.entries(CODINGS)) {
    const reply = await send(coding, encode(zeros))
    t.match([reply.status, codeOf(reply.text)], [413, 'request_too_large'], coding)
    t.equal(reply.headers['x-should-retry'], 'false')
  }
  t.match((await send('zstd', zstdCompressSync(zeros))).json().error.message, /200 times/, 'by its ratio')
  const dense = await send('gzip', gzipSync(noise(5 * MIB)))
  t.match(dense.json().error.message, /4 MiB/, 'by its length')
  const nested = await send('gzip', gzipSync(gzipSync(zeros)))
  t.equal(nested.status, 400, 'one coding is taken off, not two')
  t.equal(provider.requests.length, asked, 'nobody was asked')
  t.same(await credits(gateway, token), before, 'nothing was charged or held')
})

t.test('decoded bytes are bytes that all bodies share, and come back', async (t) => {
  provider.queue(chat({ model: 'm' }), chat({ model: 'm' }))
  const body = noise(3 * MIB)
  const all = await Promise.all([send('gzip', gzipSync(body)), send('zstd', zstdCompressSync(body))])
  t.strictSame(
    all.map(({ status }) => status),
    [200, 200],
  )
  await waitUntil(metrics, (text) => /gateway_body_bytes 0\b/.test(text))
})

t.test('what a decoded body costs is asked before all of it is here', async (t) => {
  const poor = await mintToken(t, gateway, { credits: 1 })
  const reply = await post(gateway, CHAT, gzipSync(noise(3 * MIB)), {
    ...bearer(poor),
    'content-encoding': 'gzip',
  })
  t.match([reply.status, codeOf(reply.text)], [429, 'insufficient_quota'])
})

t.test('a client that leaves in the middle of a coded body leaves nothing behind', async (t) => {
  const socket = connect(gateway.port, '127.0.0.1')
  await once(socket, 'connect')
  const bytes = gzipSync(noise(MIB))
  socket.write(
    `POST ${CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n` +
      `Content-Encoding: gzip\r\nContent-Length: ${bytes.length}\r\n\r\n`,
  )
  socket.write(bytes.subarray(0, bytes.length / 2))
  await waitUntil(metrics, (text) => /gateway_body_bytes [1-9]/.test(text))
  socket.destroy()
  await waitUntil(metrics, (text) => /gateway_body_bytes 0\b/.test(text))
  const again = await send('gzip', gzipSync(bodyOf(50)))
  t.equal(again.status, 200)
})

t.test('a passed-through body keeps its coding: nobody reads it here', async (t) => {
  const asked = provider.requests.length
  const bytes = gzipSync('any bytes')
  await post(gateway, '/v1/files', bytes, { ...bearer(token), 'content-encoding': 'gzip' })
  const seen = provider.requests[asked]
  t.ok(seen?.body.equals(bytes))
  t.equal(seen?.headers['content-encoding'], 'gzip')
})
