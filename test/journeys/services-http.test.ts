import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { handshakeText } from '../support/raw-socket.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import { openWire, requestText } from '../support/wire.ts'

t.test(
  'path, query and end-to-end headers arrive byte for byte; what the gateway says comes from it alone',
  async (t) => {
    const backend = await startByteBackend(t, ({ socket }) =>
      socket.write(
        'HTTP/1.1 200 Very Well\r\nX-Odd: \xe4 a\r\nset-cookie: a=b\r\nX-Internal-Api-Key: s\r\nx-user-id: 7\r\nServer: s/1\r\nContent-Length: 4\r\nKeep-Alive: timeout=5\r\n\r\nbody',
        'latin1',
      ),
    )
    const { port, token } = await openServiceGateway(t, [
      { prefix: '/api/users', targets: [{ origin: backend.origin, basePath: '/v2' }] },
    ])
    const text = requestText('GET /api/users/a%2Fb;v=1/%7e%41?x=%20y&token=1&&=&b', [
      `Authorization: Bearer ${token}`,
      'X-Twice: 1',
      'x-twice: 2',
      'Accept-Encoding: gzip',
      'Cookie: c=1',
      'x-internal-api-key: forged',
      'X-Internal-Anything: forged',
      'x_user_id: forged',
      'X-User-Id: forged',
      'x-user-claims: forged',
      'X-Token-Id: forged',
      'x-token-user: forged',
      'X-Forwarded-For: 6.6.6.6',
      'X-Forwarded-Host: evil.example',
      'Forwarded: for=6.6.6.6',
      'X-Real-IP: 6.6.6.6',
      'True-Client-IP: 6.6.6.6',
      'Proxy: http://6.6.6.6',
      'Proxy-Authorization: Basic x',
      'TE: trailers, deflate',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAAP__',
      'X-Request-Id: mine-1',
      'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      'tracestate: a=b',
      'X-Hop: gone',
      'Via: 1.0 before',
    ]).replace('connection: close', 'connection: close, x-hop')
    const answer = await openWire(t, port, text).whole()
    t.match(answer, /^HTTP\/1\.1 200 Very Well\r\n/)
    t.match(answer, /\r\nX-Odd: \xe4 a\r\n/)
    t.match(answer, /\r\nServer: s\/1\r\n/)
    t.match(answer, /\r\n\r\nbody$/)
    t.notMatch(answer, /set-cookie|internal-api-key|x-user-id/i)
    const [seen] = backend.seen
    t.equal(backend.seen.length, 1)
    const lines = seen?.lines ?? []
    t.equal(lines[0], 'GET /v2/a%2Fb;v=1/%7e%41?x=%20y&token=1&&=&b HTTP/1.1')
    for (const line of [
      'X-Twice: 1',
      'x-twice: 2',
      'Accept-Encoding: gzip',
      'te: trailers',
      'tracestate: a=b',
    ])
      t.ok(lines.includes(line), line)
    t.notMatch(lines.join('\n'), /forged|6\.6\.6\.6|c=1|gone|h2c|AAMAAAB|Basic|evil/)
    t.notOk(lines.join('\n').includes(token))
    t.equal(seen?.field('host'), `127.0.0.1:${backend.port}`)
    t.equal(seen?.field('x-request-id'), 'mine-1')
    t.equal(seen?.field('traceparent'), '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')
    t.match(seen?.field('via'), /^1\.0 before, 1\.1 gw-[0-9a-f]{16}$/)
    t.equal(seen?.field('x-forwarded-for'), '127.0.0.1')
    t.equal(seen?.field('x-forwarded-proto'), 'http')
    t.equal(seen?.field('x-forwarded-host'), 'public.example')
    t.equal(seen?.field('x-forwarded-prefix'), '/api/users')
    t.equal(seen?.field('x-token-user'), 'ann')
  },
)

t.test('what could lead out of a route is refused, and reaches nobody', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [
    { prefix: '/api', entry: 'open', targets: [{ origin: backend.origin, basePath: '' }] },
  ])
  for (const path of [
    '/api/../x',
    '/api/%2e%2e/x',
    '/api/%252e%252e%252fx',
    '/api/..;/x',
    '/api/a\\..\\x',
    '/api/a%5cx',
    '/api//evil.example/x',
    '/api/a%00',
    '/api/a%0d%0ax',
    '/api/a#b',
    '/api/a%zz',
    '/api/a\xe4',
    'http://127.0.0.1/api/x',
    '//api/x',
  ]) {
    const answer = await openWire(t, port, requestText(`GET ${path}`)).whole()
    t.match(answer, /^HTTP\/1\.1 40[04] /, path)
    t.match(answer, /"code":"(?:invalid_request|not_found)"/, path)
  }
  t.equal(backend.seen.length, 0)
  for (const path of [
    '/api/a%2fb',
    '/api/a//b',
    '/api/a;b=c/d',
    '/api/./a',
    '/api/%41',
    '/api/%ff',
    '/api',
    '/api/',
    '/api?x',
  ]) {
    const answer = await openWire(t, port, requestText(`GET ${path}`)).whole()
    t.match(answer, /^HTTP\/1\.1 200 /, path)
    const sent = path.slice('/api'.length)
    t.equal(backend.seen.at(-1)?.lines[0], `GET ${sent.startsWith('/') ? sent : `/${sent}`} HTTP/1.1`, path)
  }
})

t.test('the table may change while requests run; the gateway’s own paths stay its own', async (t) => {
  const first = await startByteBackend(t, () => {})
  const second = await startByteBackend(t)
  const row = { prefix: '/api', entry: 'open' } as const
  const gateway = await openServiceGateway(t, [{ ...row, targets: [{ origin: first.origin, basePath: '' }] }])
  const { port } = gateway
  const running = openWire(t, port, requestText('GET /api/a'))
  const seen = await first.until('the request', () => first.seen[0])
  gateway.setRoutes([{ ...row, targets: [{ origin: second.origin, basePath: '' }] }])
  t.match(await openWire(t, port, requestText('GET /api/b')).whole(), /^HTTP\/1\.1 200 /)
  t.equal(second.seen[0]?.lines[0], 'GET /b HTTP/1.1')
  seen.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold')
  t.match(await running.whole(), /\r\n\r\nold$/)
  t.match(await openWire(t, port, requestText('HEAD /api/hello')).whole(), /^HTTP\/1\.1 200 /)
  t.equal(second.seen[1]?.lines[0], 'HEAD /hello HTTP/1.1', 'a path handed on is the service’s')
  gateway.setRoutes([])
  t.match(await openWire(t, port, requestText('HEAD /api/hello')).whole(), /^HTTP\/1\.1 200 /)
  t.equal(second.seen.length, 2, 'otherwise the gateway says that somebody is there')
  t.match(await openWire(t, port, requestText('GET /api/b')).whole(), /^HTTP\/1\.1 404 /)
  t.match(await openWire(t, port, requestText('GET /health')).whole(), /^HTTP\/1\.1 200 [^\0]*"ok"/)
})

t.test(
  'plain HTTP where there are sockets alone is 426, and so is a socket where there is plain HTTP',
  async (t) => {
    const backend = await startByteBackend(t)
    const targets = [{ origin: backend.origin, basePath: '' }]
    const { port } = await openServiceGateway(t, [
      { prefix: '/sockets', entry: 'open', serves: 'websocket', targets },
      { prefix: '/plain', entry: 'open', serves: 'http', targets },
    ])
    t.match(await openWire(t, port, requestText('GET /sockets/a')).whole(), /^HTTP\/1\.1 426 /)
    t.match(await openWire(t, port, handshakeText({ path: '/plain/a' })).whole(), /^HTTP\/1\.1 426 /)
    t.equal(backend.seen.length, 0)
  },
)
