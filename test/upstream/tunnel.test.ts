import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t from 'tap'
import { Deadlines } from '../../src/deadlines.ts'
import type { Target } from '../../src/upstream/tunnel.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'
import { dialWebsocket } from '../../src/upstream/websocket-dial.ts'
import { startScripted } from '../support/scripted-server.ts'
import { sendBy } from '../support/service-sender.ts'
import type { Owner } from '../support/waiting.ts'

/** A proxy of which the test says every byte. */
async function startRawProxy(t: Owner, onHead: (socket: Socket, head: string) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined))
    socket.once('close', () => sockets.delete(socket))
    socket.once('data', (bytes) => onHead(socket, bytes.toString()))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { proxyFor: () => ({ isTls: false, host: '127.0.0.1', port, authorization: undefined }), sockets }
}

type ProxyFor = Awaited<ReturnType<typeof startRawProxy>>['proxyFor']

function open(t: Owner, proxyFor: ProxyFor, connectTimeoutMs = 5000) {
  const upstreams = openUpstreams({ connectTimeoutMs, proxyFor }, new Deadlines())
  t.teardown(() => upstreams.close())
  const ask = (origin: string) => {
    const { promise, resolve } = Promise.withResolvers<{ text: string; code?: unknown }>()
    let text = ''
    const request = {
      path: '/v1/x',
      headers: [],
      body: { body: Buffer.from('hello'), length: undefined },
      answerTimeoutMs: 5000,
      idleTimeoutMs: 5000,
    }
    const attempt = upstreams.ask(origin, request, {
      answered: () => true,
      data(bytes) {
        text += bytes.toString()
      },
      ended: () => resolve({ text }),
      failed: (error) => resolve({ text, code: Reflect.get(error, 'code') }),
    })
    return { done: promise, attempt }
  }
  return { upstreams, ask }
}

const SECURE = 'https://far.example'

t.test('whatever a proxy does in place of a tunnel has a name', async (t) => {
  const answers: [name: string, answer: string, code: RegExp][] = [
    ['a refusal', 'HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!', /^PROXY_403$/],
    ['a refusal without an end', 'HTTP/1.1 503 x\r\n\r\nbecause', /^PROXY_503$/],
    ['a redirect', 'HTTP/1.1 302 Found\r\nlocation: http://login.corp/\r\n\r\n', /^PROXY_302$/],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', /^PROXY_UNREACHABLE$/],
    ['nothing', '', /^PROXY_UNREACHABLE$/],
    ['half a head', 'HTTP/1.1 200 OK\r\nvia: ', /^PROXY_UNREACHABLE$/],
    ['an endless head', `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, /^PROXY_UNREACHABLE$/],
    ['bytes that nobody asked for', 'HTTP/1.1 200 OK\r\n\r\nsurprise', /^PROXY_200$/],
    ['a tunnel that breaks at once', 'HTTP/1.1 200 OK\r\n\r\n', /^(ECONNRESET|CLOSED_EARLY)$/],
  ]
  for (const [name, answer, code] of answers) {
    const { proxyFor } = await startRawProxy(t, (socket) => socket.end(answer))
    const { ask } = open(t, proxyFor)
    t.match((await ask(SECURE).done).code, code, name)
    const target = { url: new URL(SECURE), headers: {}, protocols: [] }
    const rules = { connectTimeoutMs: 5000, firstByteTimeoutMs: 5000, proxyFor }
    const dialed = await dialWebsocket(target, rules).result
    t.match(dialed, { kind: 'failed', error: { code } }, `${name}, for a socket`)
  }
})

t.test('a tunnel carries plain HTTP too, and one call after another', async (t) => {
  const heads: string[] = []
  const { proxyFor, sockets } = await startRawProxy(t, (socket, head) => {
    heads.push(head)
    socket.write('HTTP/1.1 200 OK\r\nvia: x\r\n\r\n')
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'))
  })
  const { ask } = open(t, proxyFor)
  for (let i = 0; i < 3; i++) t.same(await ask('http://[2001:db8::1]:8080').done, { text: 'hi' })
  t.equal(sockets.size, 1)
  t.same(heads.length, 1)
  t.match(heads[0], /^CONNECT \[2001:db8::1\]:8080 HTTP\/1\.1\r\nhost: \[2001:db8::1\]:8080\r\n/)
})

t.test('services have a rule of their own: what is near is reached without the proxy', async (t) => {
  const { proxyFor, sockets } = await startRawProxy(t, (socket) => void socket.end('HTTP/1.1 403 No\r\n\r\n'))
  const near = await startScripted(
    t,
    (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'),
  )
  const serviceProxyFor = ({ port }: Target) => (port === near.port ? undefined : proxyFor())
  const upstreams = openUpstreams({ connectTimeoutMs: 5000, proxyFor, serviceProxyFor }, new Deadlines())
  t.teardown(() => upstreams.close())
  t.match(await sendBy(upstreams, near.origin).done, { text: 'hi' })
  t.equal(sockets.size, 0)
  t.match(await sendBy(upstreams, SECURE).done, { error: { code: 'PROXY_403' }, sent: { wasSent: false } })
})

t.test('a proxy that is silent takes no longer than a connection may', async (t) => {
  for (const answer of ['', 'HTTP/1.1 200 OK\r\n\r\n']) {
    const { proxyFor, sockets } = await startRawProxy(t, (socket) => socket.write(answer))
    const { ask } = open(t, proxyFor, 100)
    t.match(await ask(SECURE).done, { code: 'CONNECT_TIMEOUT' })
    const rules = { connectTimeoutMs: 100, firstByteTimeoutMs: 5000, proxyFor }
    const dialed = await dialWebsocket({ url: new URL(SECURE), headers: {}, protocols: [] }, rules).result
    t.match(dialed, { kind: 'failed', error: { code: 'CONNECT_TIMEOUT' } })
    await Promise.all([...sockets].map((socket) => new Promise((gone) => socket.once('close', gone))))
  }
})

t.test('a call that is given up, and a pool that closes, let go of the proxy', async (t) => {
  for (const answer of ['', 'HTTP/1.1 200 OK\r\n\r\n']) {
    const arrived: Socket[] = []
    const waiting = Promise.withResolvers<void>()
    const { proxyFor } = await startRawProxy(t, (socket) => {
      if (arrived.push(socket) === 3) waiting.resolve()
      if (answer) socket.write(answer)
    })
    const { ask, upstreams } = open(t, proxyFor, 60_000)
    const [first, second] = [ask(SECURE), ask(SECURE)]
    const rules = { connectTimeoutMs: 60_000, firstByteTimeoutMs: 5000, proxyFor }
    const dial = dialWebsocket({ url: new URL(SECURE), headers: {}, protocols: [] }, rules)
    await waiting.promise
    const closed = Promise.all(
      arrived.map((socket) => new Promise((gone) => socket.resume().once('close', gone))),
    )
    first.attempt.abort()
    dial.abort()
    upstreams.close()
    t.ok((await second.done).code)
    t.match(await dial.result, { kind: 'failed' })
    await closed
  }
})
