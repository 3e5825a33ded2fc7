import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { acceptOf } from '../../src/upstream/websocket-dial.ts'
import { chat } from '../support/answers.ts'
import { type Behaviour, json } from '../support/behaviour.ts'
import { descriptorsOf } from '../support/descriptors.ts'
import { formBody } from '../support/form.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { bodyOf, statusOf } from '../support/hostile.ts'
import { waitForPaidRows, waitUntil } from '../support/journey.ts'
import { hearUntilEnd } from '../support/last-word.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { openRaw } from '../support/raw-socket.ts'
import { controlled } from '../support/stream-behaviours.ts'

/** Longer than the gateway waits before it asks whether a half-closed client still listens. */
const SILENCE_MS = 1_600

const provider = await startProvider(t)
const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
  env: {
    ...providerKeys('main'),
    RATE_LIMIT_PER_MINUTE: '100000',
    UNAUTHENTICATED_PER_MINUTE: '100000',
    PASSTHROUGH_PATHS: `/v1/files=${provider.url}/files`,
  },
})
const token = await mintToken(t, gateway)

const request = (path: string, body: string | Buffer, type = 'application/json', version = '1.1'): Buffer => {
  const bytes = Buffer.from(body)
  const head =
    `POST ${path} HTTP/${version}\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n` +
    `Content-Type: ${type}\r\nContent-Length: ${bytes.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), bytes])
}
const ask = (stream: boolean) =>
  request(
    '/v1/chat/completions',
    JSON.stringify({ model: 'm', stream, max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] }),
  )
const form = request(
  '/v1/audio/transcriptions',
  formBody([
    ['model', 'm'],
    ['file', 'a.wav', Buffer.alloc(100_000, 'a')],
  ]),
  'multipart/form-data; boundary=form-boundary-of-a-test',
)
const hear = (bytes: string | Buffer) => hearUntilEnd(t, gateway.port, bytes, { halfClose: true })
/** Without the interim answer that asks whether somebody listens. */
const lastAnswer = (text: string): string => text.replace(/^(HTTP\/1.1 100 Continue\r\n\r\n)+/, '')

/** The body of a chunked answer; undefined when it is not whole. */
const joinChunks = (text: string): string | undefined => {
  let [rest, body] = [text, '']
  for (;;) {
    const [, size = ''] = /^([0-9a-f]+)\r\n/i.exec(rest) ?? []
    const bytes = Number.parseInt(size, 16)
    if (!(bytes >= 0)) return undefined
    if (bytes === 0) return rest.slice(size.length) === '\r\n\r\n' ? body : undefined
    body += rest.slice(size.length + 2, size.length + 2 + bytes)
    rest = rest.slice(size.length + 4 + bytes)
  }
}

const late = (behaviour: Behaviour): Behaviour => ({
  act: async (call) => {
    await wait(SILENCE_MS)
    await behaviour.act(call)
  },
})

t.test('a request followed by a half-close gets its answer, and then the end', async (t) => {
  const refused = 'GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n'
  const cases: [string, string | Buffer, number, RegExp, Behaviour?][] = [
    ['health', 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n', 200, /"ok"/],
    ['a refusal', refused, 401, /invalid_api_key/],
    ['two requests', refused + refused, 401, /invalid_api_key.*invalid_api_key/s],
    ['a plain answer', ask(false), 200, /hello there/, chat({ content: 'hello there' })],
    ['a late answer', ask(false), 200, /hello there/, late(chat({ content: 'hello there' }))],
    ['an upload', form, 200, /what was said/, json({ text: 'what was said' })],
    ['a passthrough', request('/v1/files', '{}'), 200, /"object"/, json({ object: 'file' })],
    [
      'a handshake',
      'GET /v1/realtime?model=m HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      426,
      /upgrade_required/,
    ],
  ]
  for (const [name, bytes, status, body, behaviour] of cases) {
    if (behaviour) provider.queue(behaviour)
    const { text, endedAfterMs } = await hear(bytes)
    t.equal(statusOf(lastAnswer(text)), status, `${name}: ${text.slice(0, 200)}`)
    t.match(text, body, name)
    t.ok(endedAfterMs !== undefined, `${name}: the connection ends`)
  }
})

t.test('a stream reaches a half-closed client whole, whatever silence is in it', async (t) => {
  const stream = controlled()
  provider.queue(stream)
  const heard = hear(ask(true))
  await stream.write('data: {"choices":[{"delta":{"content":"one"}}]}\n\n')
  await wait(SILENCE_MS)
  await stream.write('data: {"choices":[{"delta":{"content":"two"}}]}\n\n')
  await stream.write('data: [DONE]\n\n')
  await stream.end()
  const { text } = await heard
  t.equal(statusOf(text), 200)
  t.match(joinChunks(bodyOf(text)), /one.*two.*\[DONE\]\n\n$/s, text)
})

t.test('a client that has left altogether still ends the call to its provider', async (t) => {
  const aborted = () => provider.requests.filter((seen) => seen.aborted).length
  const leave = async (bytes: Buffer, untilAnswer: boolean) => {
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => undefined)
    const asked = provider.requests.length
    socket.write(bytes)
    if (untilAnswer) await once(socket, 'data')
    else await provider.waitForRequest(asked + 1)
    const before = aborted()
    socket.destroy()
    await waitUntil(aborted, (now) => now > before)
  }
  const silence: Behaviour = { act: () => undefined }
  for (const [name, bytes] of [
    ['a plain answer', ask(false)],
    ['a stream', ask(true)],
    ['an upload', form],
  ] as const) {
    provider.queue(silence)
    await leave(bytes, false)
    t.pass(name)
  }
  const stream = controlled()
  provider.queue(stream)
  const left = leave(ask(true), true)
  await stream.write('data: {"choices":[{"delta":{"content":"one"}}]}\n\n')
  await left
  t.pass('a stream that has begun and is silent')
})

t.test('into an open WebSocket no HTTP is written', async (t) => {
  const service = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (head) => {
      const accept = acceptOf(/sec-websocket-key: (\S+)/i.exec(String(head))?.[1] ?? '')
      const lines = ['Connection: Upgrade', 'Upgrade: websocket', `Sec-WebSocket-Accept: ${accept}`]
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
      // The client has ended its side, and hears the rest.
      socket.once('end', async () => {
        await wait(SILENCE_MS)
        socket.end(Buffer.from([0x81, 2, 0x68, 0x69]))
      })
    })
  })
  service.listen(0, '127.0.0.1')
  await once(service, 'listening')
  const { port } = service.address() as AddressInfo
  const other = await startGateway(t, { env: { WS_ROUTES: `/open=ws://127.0.0.1:${port}/!open` } })
  t.teardown(() => service.close())
  const client = openRaw(t, { port: other.port, path: '/open' })
  await client.opened
  client.socket.end()
  await client.closed
  t.strictSame(
    client.frames().map(({ payload }) => String(payload)),
    ['hi'],
  )
})

t.test('a slow reader that has ended its side gets all of a long answer', async (t) => {
  const content = 'x'.repeat(6_000_000)
  provider.queue(chat({ content }))
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  socket.end(ask(false))
  await once(socket, 'readable')
  await wait(SILENCE_MS)
  let bytes = 0
  for await (const piece of socket) bytes += piece.length
  t.ok(bytes > content.length, `${bytes} bytes`)
})

t.test('a client that ends an idle connection is let go', async (t) => {
  const before = descriptorsOf(gateway)
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  socket.write('GET /health HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket, 'data')
  const ended = once(socket, 'end')
  socket.end()
  await ended
  await waitUntil(
    () => descriptorsOf(gateway),
    (now) => now <= before,
  )
  await waitForPaidRows(gateway, 3)
  t.strictSame(
    gateway.lines().filter(({ level }) => level === 'error' || level === 'fatal'),
    [],
  )
})
