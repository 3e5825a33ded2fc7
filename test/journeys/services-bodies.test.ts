import { METHODS } from 'node:http'
import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import { openWire, requestText } from '../support/wire.ts'

const OPEN = { prefix: '/api', entry: 'open' } as const

t.test('each method that HTTP knows reaches a service, and a route may take some alone', async (t) => {
  const backend = await startByteBackend(t)
  const targets = [{ origin: backend.origin, basePath: '' }]
  const gateway = await openServiceGateway(t, [
    { ...OPEN, targets },
    { prefix: '/few', entry: 'open', targets, methods: ['GET', 'POST'] },
  ])
  for (const method of METHODS.filter((each) => each !== 'CONNECT')) {
    const answer = await openWire(t, gateway.port, requestText(`${method} /api/x`)).whole()
    t.match(answer, /^HTTP\/1\.1 200 OK\r\n/, method)
    t.equal(backend.seen.at(-1)?.lines[0], `${method} /x HTTP/1.1`)
  }
  const count = backend.seen.length
  const refused = await openWire(t, gateway.port, requestText('DELETE /few/x')).whole()
  t.match(refused, /^HTTP\/1\.1 405 [^\0]*\r\nallow: GET, POST, HEAD\r\n[^\0]*method_not_allowed/)
  t.equal(backend.seen.length, count)
  t.match(await openWire(t, gateway.port, requestText('HEAD /few/x')).whole(), /^HTTP\/1\.1 200 /)
})

t.test('bodies pass in the framing they came in, of whatever type, with their trailers', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [
    { ...OPEN, targets: [{ origin: backend.origin, basePath: '' }] },
  ])
  const sent: [string, string[], string, string][] = [
    ['POST', ['content-length: 5', 'content-type: weird'], 'hello', 'hello'],
    ['POST', ['content-length: 0'], '', ''],
    ['GET', ['content-length: 2'], 'in', 'in'],
    ['DELETE', ['content-length: 2', 'content-type: application/json'], '{}', '{}'],
    ['QUERY', ['content-length: 3'], 'abc', 'abc'],
    [
      'PUT',
      ['transfer-encoding: chunked', 'trailer: x-sum'],
      '3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 5\r\nx-user-id: forged\r\n\r\n',
      'abcde',
    ],
  ]
  for (const [method, fields, body, plain] of sent) {
    const answer = await openWire(t, port, requestText(`${method} /api/b`, fields, body)).whole()
    t.match(answer, /^HTTP\/1\.1 200 /, `${method} ${fields}`)
    const seen = backend.seen.at(-1)
    const isChunked = fields.includes('transfer-encoding: chunked')
    const got = seen?.body() ?? ''
    if (isChunked) {
      t.equal(seen?.field('content-length'), undefined)
      t.equal(
        got
          .replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, '')
          .replace(/x-sum[^\0]*/, '')
          .trim(),
        plain,
      )
      t.match(got, /0\r\nx-sum: 5\r\n\r\n$/)
    } else {
      t.equal(seen?.field('content-length'), String(plain.length))
      t.equal(got, plain)
    }
    t.equal(seen?.field('content-type'), fields.find((each) => each.startsWith('content-type'))?.slice(14))
  }
})

t.test('answers pass as they are: no body, ranges, codings, trailers, interim heads', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [
    { ...OPEN, targets: [{ origin: backend.origin, basePath: '' }] },
  ])
  const ask = async (answer: string, method = 'GET') => {
    backend.act = ({ socket }) => void socket.write(answer, 'latin1')
    return openWire(t, port, requestText(`${method} /api/a`)).whole()
  }
  t.match(
    await ask('HTTP/1.1 204 No Content\r\nETag: "a"\r\n\r\n'),
    /^HTTP\/1\.1 204 No Content\r\n[^\0]*ETag: "a"[^\0]*\r\n\r\n$/,
  )
  const empty = 'HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n'
  t.notMatch(await ask(empty), /content-length/i, 'nobody waits for bytes that cannot come')
  t.match(
    await ask('HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n'),
    /^HTTP\/1\.1 304 [^\0]*Content-Length: 9[^\0]*\r\n\r\n$/,
  )
  t.match(
    await ask('HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n', 'HEAD'),
    /Content-Length: 999[^\0]*\r\n\r\n$/,
  )
  t.match(
    await ask(
      'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nzz',
    ),
    /^HTTP\/1\.1 206 [^\0]*Content-Range: bytes 0-1\/9\r\nContent-Encoding: gzip\r\n[^\0]*\r\n\r\nzz$/,
  )
  const trailed = await ask(
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\nx-internal-secret: s\r\n\r\n',
  )
  t.match(trailed, /\r\nTrailer: grpc-status\r\n[^\0]*\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n$/)
  const untrue = 'HTTP/1.1 200 OK\r\nTrailer: x\r\nContent-Length: 1\r\n\r\na'
  t.match(
    await ask(untrue),
    /^HTTP\/1\.1 200 [^\0]*\r\n\r\na$/,
    'trailers that cannot come are not announced',
  )
  const hinted = await ask(
    'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: a=1\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na',
  )
  t.match(hinted, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  const twice = await ask(
    'HTTP/1.1 200 OK\r\nVary: Accept\r\nLink: <a>\r\nLink: <b>\r\nAlt-Svc: h3=":9"\r\nContent-Length: 0\r\n\r\n',
  )
  t.match(twice, /Vary: Accept\r\nLink: <a>\r\nLink: <b>\r\n/)
  t.notMatch(twice, /alt-svc/i)
})

t.test('what is longer than a route takes is 413, also when nobody said how long it is', async (t) => {
  const backend = await startByteBackend(t, ({ socket, body, field }) => {
    const answer = (): void => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
    const isWhole = (): boolean => body().length === Number(field('content-length'))
    if (isWhole()) answer()
    else socket.on('data', () => setImmediate(() => isWhole() && answer()))
  })
  const gateway = await openServiceGateway(t, [
    { ...OPEN, targets: [{ origin: backend.origin, basePath: '' }], limits: { maxBodyBytes: 10 } },
  ])
  const said = await openWire(
    t,
    gateway.port,
    requestText('POST /api/l', ['content-length: 11'], 'x'.repeat(11)),
  ).whole()
  t.match(said, /^HTTP\/1\.1 413 [^\0]*request_too_large/)
  t.equal(backend.seen.length, 0)
  const asking = openWire(
    t,
    gateway.port,
    requestText('POST /api/l', ['content-length: 11', 'expect: 100-continue']),
  )
  t.match(await asking.whole(), /^HTTP\/1\.1 413 /, 'nobody asks for it')
  const wire = openWire(
    t,
    gateway.port,
    requestText('POST /api/l', ['transfer-encoding: chunked'], '8\r\n12345678\r\n'),
  )
  await backend.until(
    'the first bytes at the service',
    () => backend.seen[0]?.body().includes('12345678') || undefined,
  )
  wire.socket.write('8\r\n12345678\r\n0\r\n\r\n')
  t.match(await wire.whole(), /^HTTP\/1\.1 413 [^\0]*request_too_large/)
  await backend.until('the service sees no end of it', () => backend.sockets.size === 0 || undefined)
  t.notMatch(backend.seen[0]?.body(), /\r\n0\r\n\r\n$/)
  const fits = await openWire(
    t,
    gateway.port,
    requestText('POST /api/l', ['content-length: 10'], '1234567890'),
  ).whole()
  t.match(fits, /^HTTP\/1\.1 200 /)
})

t.test('a client that asks whether its body is wanted is told so by the service alone', async (t) => {
  const backend = await startByteBackend(t, ({ socket, lines }) => {
    if (lines[0]?.includes('/no')) socket.write('HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\nno')
    else {
      socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'))
    }
  })
  const targets = [{ origin: backend.origin, basePath: '' }]
  const gateway = await openServiceGateway(t, [
    { ...OPEN, targets },
    { prefix: '/closed', targets },
  ])
  const fields = ['content-length: 4', 'Expect: 100-continue']
  const refused = await openWire(t, gateway.port, requestText('POST /closed/x', fields)).whole()
  t.match(refused, /^HTTP\/1\.1 401 /)
  const conflict = await openWire(t, gateway.port, requestText('POST /api/no', fields)).whole()
  t.match(conflict, /^HTTP\/1\.1 409 [^\0]*\r\nConnection: close\r\n\r\nno$/)
  const wire = openWire(t, gateway.port, requestText('POST /api/yes', fields))
  await wire.until('100', (text) => text.startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
  wire.socket.write('body')
  t.match(await wire.whole(), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
  t.equal(backend.seen.at(-1)?.field('expect'), '100-continue')
})

t.test('redirects and cookies of a service lead to the public path', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [
    { ...OPEN, prefix: '/api/users', targets: [{ origin: backend.origin, basePath: '/v2' }], cookies: true },
  ])
  const fields = [
    `Location: ${backend.origin}/v2/login?next=%2Fa`,
    'Content-Location: /v2/me',
    'Set-Cookie: a=1; Domain=users.internal; Path=/v2/x; HttpOnly',
    'Set-Cookie: b=2; Path=/',
  ]
  backend.act = ({ socket }) =>
    void socket.write(`HTTP/1.1 302 Found\r\n${fields.join('\r\n')}\r\ncontent-length: 0\r\n\r\n`)
  const answer = await openWire(t, port, requestText('GET /api/users/42', ['cookie: c=1'])).whole()
  t.match(answer, /\r\nLocation: \/api\/users\/login\?next=%2Fa\r\n/)
  t.match(answer, /\r\nContent-Location: \/api\/users\/me\r\n/)
  t.match(
    answer,
    /\r\nSet-Cookie: a=1; Path=\/api\/users\/x; HttpOnly\r\nSet-Cookie: b=2; Path=\/api\/users\r\n/,
  )
  t.equal(backend.seen[0]?.field('cookie'), 'c=1')
})
