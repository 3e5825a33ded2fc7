import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { reply, startByteBackend } from '../support/byte-backend.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import { openWire, requestText } from '../support/wire.ts'

const OPEN = { prefix: '/api', entry: 'open' } as const
/** Nobody listens there. */
const NOBODY = 'http://127.0.0.1:9'
const EVENTS = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'

const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`
const at = (origin: string) => ({ origin, basePath: '' })

t.test('a service that is away is 502, a silent one 504, and no answer names either', async (t) => {
  const silent = await startByteBackend(t, () => {})
  const odd = await startByteBackend(t, ({ socket }) => void socket.end('SSH-2.0-x\r\n\r\n'))
  const { port, lineOf } = await openServiceGateway(t, [
    { prefix: '/away', entry: 'open', targets: [at(NOBODY)] },
    { prefix: '/silent', entry: 'open', targets: [at(silent.origin)], timeouts: { firstByteMs: 200 } },
    { prefix: '/odd', entry: 'open', targets: [at(odd.origin)] },
  ])
  for (const [path, status, code] of [
    ['/away', 502, 'upstream_failed'],
    ['/silent', 504, 'upstream_timeout'],
    ['/odd', 502, 'upstream_failed'],
  ] as const) {
    const answer = await openWire(t, port, requestText(`GET ${path}/x`)).whole()
    t.match(
      answer,
      new RegExp(`^HTTP/1\\.1 ${status} [^\\0]*"message":"The service [^\\0]*"code":"${code}"`),
      path,
    )
    t.notMatch(answer, /127\.0\.0\.1|ECONN/)
    t.match(await lineOf(path), { status, error: code })
  }
})

t.test(
  'events pass one by one, however long they take, and a pause longer than allowed cuts them',
  async (t) => {
    const backend = await startByteBackend(t, async ({ socket }) => {
      socket.write(EVENTS)
      for (let n = 0; n < 5; n++) {
        socket.write(chunk(`data: ${n}\n\n`))
        await sleep(150)
      }
    })
    const { port, lineOf } = await openServiceGateway(t, [
      { ...OPEN, targets: [at(backend.origin)], timeouts: { firstByteMs: 300, idleMs: 600 } },
    ])
    const wire = openWire(t, port, 'GET /api/events HTTP/1.1\r\nhost: a\r\n\r\n')
    await wire.until('the head and the first event', (text) => text.includes('data: 0'))
    t.notMatch(wire.text(), /data: 1/)
    const text = await wire.whole()
    t.match(text, /data: 4/)
    t.notMatch(text, /\r\n0\r\n\r\n/, 'it does not look whole')
    t.match(await lineOf('/api'), { status: 504, error: 'upstream_timeout', bytesOut: 45 })
  },
)

t.test('a head that is alone leaves at once', async (t) => {
  const backend = await startByteBackend(t, ({ socket }) => void socket.write(EVENTS))
  const { port } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  const wire = openWire(t, port, 'GET /api/events HTTP/1.1\r\nhost: a\r\n\r\n')
  await wire.until('the head', (text) => text.includes('\r\n\r\n'))
})

t.test('an answer that breaks off never looks whole, in whatever framing', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  for (const framing of ['content-length: 30', 'transfer-encoding: chunked']) {
    backend.act = ({ socket }) =>
      void socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n5\r\nhello\r\n`, () => socket.end())
    const text = await openWire(t, port, 'GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n').whole()
    t.match(text, /hello/)
    t.notMatch(text, /\r\n0\r\n\r\n/)
    const old = openWire(t, port, 'GET /api/x HTTP/1.0\r\nhost: a\r\n\r\n')
    await old.whole()
    t.equal(
      old.isReset() || framing.startsWith('content-length'),
      true,
      'an old client sees a reset, not an end',
    )
  }
})

t.test('an answer that breaks off behind another one ends its connection when its turn comes', async (t) => {
  const backend = await startByteBackend(t, async ({ lines: [line = ''], socket }) => {
    const isSlow = line.startsWith('GET /slow')
    if (isSlow) await sleep(300)
    socket.end(
      isSlow
        ? 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst'
        : 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc',
    )
  })
  const { port } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  const asks = ['slow', 'broken', 'broken'].map((name) => `GET /api/${name} HTTP/1.1\r\nhost: a\r\n\r\n`)
  const text = await openWire(t, port, asks.join('')).whole()
  t.match(text, /first/)
  t.ok(text.split('HTTP/1.1 200').length <= 3, 'nothing comes behind it')
})

t.test('a client that leaves ends what its service does', async (t) => {
  const backend = await startByteBackend(t, ({ socket }) => void socket.write(EVENTS + chunk('data: 0\n\n')))
  const { port, gateway, lineOf } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  const wire = openWire(t, port, 'GET /api/events HTTP/1.1\r\nhost: a\r\n\r\n')
  await wire.until('the first event', (text) => text.includes('data: 0'))
  t.equal(gateway.running(), 1)
  wire.socket.destroy()
  await backend.until('the end of its connection', () => backend.sockets.size === 0 || undefined)
  t.equal(gateway.running(), 0)
  t.match(await lineOf('/api'), { status: 499, error: 'client_left' })
})

t.test('a client that leaves in the middle of its body fails no target', async (t) => {
  const backend = await startByteBackend(t, () => {})
  const { port } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  const wire = openWire(t, port, requestText('POST /api/up', ['content-length: 100'], 'half'))
  await backend.until('half of it', () => backend.seen[0]?.body().includes('half') || undefined)
  wire.socket.resetAndDestroy()
  await backend.until('the end of its connection', () => backend.sockets.size === 0 || undefined)
  backend.act = reply('well')
  t.match(await openWire(t, port, requestText('GET /api/x')).whole(), /^HTTP\/1\.1 200 [^\0]*well$/)
})

t.test('a target that cannot be dialed sends any request to another one, body and all', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [{ ...OPEN, targets: [at(NOBODY), at(backend.origin)] }])
  for (let n = 0; n < 3; n++) {
    const answer = await openWire(t, port, requestText('POST /api/x', ['content-length: 4'], 'body')).whole()
    t.match(answer, /^HTTP\/1\.1 200 /)
  }
  t.equal(backend.seen.length, 3)
  await backend.until('the body', () => backend.seen[2]?.body() === 'body' || undefined)
})

t.test(
  'what a service may have seen is asked again only where the route says so, and never with a body',
  async (t) => {
    let asked = 0
    const backend = await startByteBackend(t, ({ socket }) => {
      asked++
      if (asked % 2 === 1) socket.resetAndDestroy()
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    })
    const busy = await startByteBackend(t, reply('busy', 'HTTP/1.1 503 Service Unavailable'))
    const retry = { attempts: 2, statuses: [503], onReset: true, methods: ['GET'] }
    const { port } = await openServiceGateway(t, [
      { ...OPEN, targets: [at(backend.origin)] },
      { ...OPEN, prefix: '/again', targets: [at(backend.origin)], retry },
      { ...OPEN, prefix: '/busy', targets: [at(busy.origin)], retry },
    ])
    t.match(await openWire(t, port, requestText('GET /api/x')).whole(), /^HTTP\/1\.1 502 /)
    t.equal(asked, 1)
    asked = 0
    t.match(await openWire(t, port, requestText('GET /again/x')).whole(), /^HTTP\/1\.1 200 /)
    t.equal(asked, 2)
    asked = 0
    const post = requestText('POST /again/x', ['content-length: 1'], 'a')
    t.match(await openWire(t, port, post).whole(), /^HTTP\/1\.1 502 /)
    t.equal(asked, 1, 'a POST is not')
    asked = 0
    const withBody = requestText('GET /again/x', ['content-length: 1'], 'a')
    t.match(await openWire(t, port, withBody).whole(), /^HTTP\/1\.1 502 /)
    t.equal(asked, 1, 'nor what has a body')
    t.match(await openWire(t, port, requestText('GET /busy/x')).whole(), /^HTTP\/1\.1 503 [^\0]*busy$/)
    t.equal(busy.seen.length, 2, 'asked twice, and the last answer counts')
  },
)

t.test('a kept connection that its service had closed costs a GET nothing', async (t) => {
  const backend = await startByteBackend(t)
  const { port } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  t.match(await openWire(t, port, requestText('GET /api/1')).whole(), /^HTTP\/1\.1 200 /)
  const [kept] = backend.sockets
  // As a service that closes in the very moment when the next request comes.
  backend.act = (request) => (request.socket === kept ? void request.socket.end() : reply('fresh')(request))
  t.match(await openWire(t, port, requestText('GET /api/2')).whole(), /^HTTP\/1\.1 200 [^\0]*fresh$/)
})

t.test('a route that leads back to the gateway is 508', async (t) => {
  const gateway = await openServiceGateway(t, [])
  gateway.setRoutes([{ ...OPEN, keepsPrefix: true, targets: [at(gateway.url)] }])
  const answer = await openWire(t, gateway.port, requestText('GET /api/x')).whole()
  t.match(answer, /^HTTP\/1\.1 508 [^\0]*"code":"loop_detected"/)
})

t.test(
  'running requests are waited for when the gateway goes down, and cut when that takes too long',
  async (t) => {
    const backend = await startByteBackend(t, async ({ socket, lines: [line = ''] }) => {
      socket.write(EVENTS + chunk('data: 0\n\n'))
      if (!line.includes('/soon')) return
      await sleep(300)
      socket.write(`${chunk('data: end\n\n')}0\r\n\r\n`)
    })
    const { port, gateway } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
    const soon = openWire(t, port, 'GET /api/soon HTTP/1.1\r\nhost: a\r\n\r\n')
    const never = openWire(t, port, 'GET /api/never HTTP/1.1\r\nhost: a\r\n\r\n')
    for (const wire of [soon, never]) await wire.until('the first event', (text) => text.includes('data: 0'))
    await gateway.drain({ delayMs: 0, graceMs: 900, settleMs: 1000 })
    t.match(await soon.whole(), /data: end\n\n\r\n0\r\n\r\n$/)
    t.notMatch(await never.whole(), /0\r\n\r\n$/)
  },
)

t.test('an answer that runs ends with the token that asked for it', async (t) => {
  const backend = await startByteBackend(t, ({ socket }) => void socket.write(EVENTS + chunk('data: 0\n\n')))
  const gateway = await openServiceGateway(t, [{ prefix: '/api', targets: [at(backend.origin)] }])
  const head = `GET /api/x HTTP/1.1\r\nhost: a\r\nx-api-key: ${gateway.token}\r\n\r\n`
  const wire = openWire(t, gateway.port, head)
  await wire.until('the first event', (text) => text.includes('data: 0'))
  await gateway.revoke()
  t.notMatch(await wire.whole(), /0\r\n\r\n$/)
  await backend.until('the end at the service', () => backend.sockets.size === 0 || undefined)
})

t.test(
  'a preflight is the service’s where the gateway has no rules, and nobody is asked who it is',
  async (t) => {
    const backend = await startByteBackend(
      t,
      ({ socket }) =>
        void socket.write(
          'HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://a.example\r\n\r\n',
        ),
    )
    const { port } = await openServiceGateway(t, [
      { prefix: '/own', targets: [at(backend.origin)], methods: ['GET'] },
      {
        prefix: '/ours',
        targets: [at(backend.origin)],
        cors: { origins: ['https://b.example'], credentials: true },
      },
    ])
    const fields = ['origin: https://b.example', 'access-control-request-method: GET']
    const own = await openWire(t, port, requestText('OPTIONS /own/x', fields)).whole()
    t.match(own, /^HTTP\/1\.1 204 [^\0]*Access-Control-Allow-Origin: https:\/\/a\.example/)
    const ours = await openWire(t, port, requestText('OPTIONS /ours/x', fields)).whole()
    t.match(ours, /^HTTP\/1\.1 204 [^\0]*access-control-allow-origin: https:\/\/b\.example/)
    t.equal(backend.seen.length, 1)
    t.match(await openWire(t, port, requestText('OPTIONS /own/x')).whole(), /^HTTP\/1\.1 401 /)
  },
)

t.test('a body that pauses too long is 408, and all of a request may take only so long', async (t) => {
  const backend = await startByteBackend(t, () => {})
  const { port } = await openServiceGateway(
    t,
    [
      { ...OPEN, targets: [at(backend.origin)] },
      { ...OPEN, prefix: '/short', targets: [at(backend.origin)], timeouts: { totalMs: 200 } },
    ],
    { env: { BODY_TIMEOUT_MS: '1000' } },
  )
  const slow = openWire(t, port, requestText('POST /api/x', ['content-length: 9'], 'half'))
  t.match(await slow.whole(), /^HTTP\/1\.1 408 [^\0]*request_timeout/)
  const answer = await openWire(t, port, requestText('GET /short/x')).whole()
  t.match(answer, /^HTTP\/1\.1 504 [^\0]*upstream_timeout/)
})
