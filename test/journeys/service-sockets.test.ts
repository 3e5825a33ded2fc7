import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SignJWT } from 'jose'
import t from 'tap'
import { startEcho } from '../support/echo.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'
import { refused } from '../support/realtime.ts'
import { servicesFile } from '../support/services-file.ts'
import { openSocket } from '../support/sockets.ts'

const JWT_SECRET = 'a-secret-of-this-test-and-of-nothing-else'
const INTERNAL_API_KEY = 'internal-key-of-this-test'
const PAGE = 'https://app.example.com'
/** Nobody listens there. */
const DEAD = 'http://127.0.0.1:1'

/** A service that refuses, redirects or says nothing to a handshake, as its path tells it. */
async function startRefusing() {
  const server = createServer((_request, response) => response.writeHead(404).end())
  server.on('upgrade', ({ url = '' }, socket) => {
    socket.on('error', () => undefined)
    const [, status = '200', body = ''] = url.split('/')
    const lines = [
      `HTTP/1.1 ${status} Refused`,
      'content-type: text/plain',
      'www-authenticate: Basic realm="the service"',
      'set-cookie: sid=1; Path=/',
      'x-internal-host: db-7',
      'location: http://elsewhere.example.com/',
      `content-length: ${body.length}`,
    ]
    socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const echo = await startEcho(t, {
  handleProtocols: (offered) => (offered.has('chat.v2') ? 'chat.v2' : false),
  onSocket: (socket, { headers, url }) => {
    socket.send(JSON.stringify({ url, headers }))
    socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
  },
})
const silent = await startRawUpstream(t)
silent.mode = 'hang'
const resetting = await startRawUpstream(t)
resetting.mode = 'reset'
const refusing = await startRefusing()
const to = `http://127.0.0.1:${echo.port}`

const gateway = await startGateway(t, {
  env: {
    JWT_SECRET,
    JWT_CLOCK_TOLERANCE_S: '0',
    INTERNAL_API_KEY,
    INTERNAL_API_BASE_URL: to,
    QUERY_API_KEYS: 'proxy',
    WS_ROUTES: `/short=ws://127.0.0.1:${echo.port}/ws/{session_id}!open,/query=ws://127.0.0.1:${echo.port}/ws?session_id={session_id}!open`,
    WS_SOCKETS_PER_TOKEN: '3',
    UNAUTHENTICATED_PER_MINUTE: '1000000',
    CORS_ALLOWLIST: 'https://listed.example.com',
  },
  modelsFile: servicesFile(t, {
    '/strip': { to: `${to}/base` },
    '/keep': { to, path: 'keep' },
    '/people': { to, auth: 'jwt' },
    '/open': { to, auth: 'open' },
    '/many': { to: [DEAD, to], auth: 'open', balance: 'round-robin' },
    '/dead': { to: [DEAD, DEAD.replace(':1', ':2')], auth: 'open' },
    '/reset': {
      to: [`http://127.0.0.1:${resetting.port}`, to],
      auth: 'open',
      retry: { on: ['dial', 'reset'] },
    },
    '/once': { to: [`http://127.0.0.1:${resetting.port}`, to], auth: 'open' },
    '/silent': { to: `http://127.0.0.1:${silent.port}`, auth: 'open', timeouts: { firstByteMs: 300 } },
    '/refusing': { to: refusing, auth: 'open', cookies: true },
    '/second': { to: [`${refusing}/503/later`, to], auth: 'open', retry: { on: ['dial', 503] } },
    '/small': { to, auth: 'open', limits: { bodyBytes: 100 } },
    '/counted': { to, limits: { perMinute: 2 } },
    '/posted': { to, auth: 'open', methods: ['POST'] },
    '/mixed': { to, auth: 'jwt', open: ['/public/*'] },
    '/page': { to, auth: 'open', cors: { origins: [PAGE], credentials: true } },
    '/http': { to, auth: 'open', serves: 'http' },
  }),
})
const token = await mintToken(t, gateway, { perMinute: 1_000_000 })
const bearer = { authorization: `Bearer ${token}` }

const signJwt = (sub: string, expiresIn: string) =>
  new SignJWT({ role: 'admin' })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setIssuedAt()
    .setExpirationTime(expiresIn)
    .sign(new TextEncoder().encode(JWT_SECRET))

interface Seen {
  url: string
  headers: Record<string, string>
}

const openAndLook = async (t: Parameters<typeof openSocket>[0], path: string, options = {}) => {
  const socket = await openSocket(t, gateway.url + path, options)
  const seen: Seen = JSON.parse(await socket.next())
  return { ...socket, seen }
}

t.test(
  'a service learns of a socket what it learns of a request, and nothing that a client made up',
  async (t) => {
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const { seen } = await openAndLook(t, '/strip/room%20a/b;c?x=%20y&&z', {
      headers: {
        ...bearer,
        traceparent: trace,
        'x-request-id': 'id-1',
        'x-api-key': 'its own',
        'x-internal-api-key': 'forged',
        'x-user-id': 'forged',
        x_user_id: 'forged',
        'x-token-user': 'forged',
        'x-forwarded-for': '9.9.9.9',
        'x-forwarded-host': 'forged.example.com',
        cookie: 'session=1',
        'x-custom': 'passes',
      },
    })
    t.equal(seen.url, '/base/room%20a/b;c?x=%20y&&z')
    t.match(seen.headers, {
      'x-internal-api-key': INTERNAL_API_KEY,
      'x-token-user': 'testuser',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `127.0.0.1:${gateway.port}`,
      'x-forwarded-prefix': '/strip',
      'x-request-id': 'id-1',
      traceparent: trace,
      via: /^1\.1 gw-/,
      'x-custom': 'passes',
      host: `127.0.0.1:${echo.port}`,
    })
    for (const name of ['cookie', 'authorization', 'x-api-key', 'x-user-id', 'x_user_id'])
      t.equal(seen.headers[name], undefined, name)
    t.notMatch(JSON.stringify(seen), /forged/)
    const kept = await openAndLook(t, '/keep/a?b', { headers: bearer })
    t.equal(kept.seen.url, '/keep/a?b')
    t.match(kept.seen.headers.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/, 'made where none came')
  },
)

t.test('R2: a key in the query opens a socket of /proxy, and does not go on', async (t) => {
  const { seen } = await openAndLook(t, `/proxy/live?a=1&api_key=${token}&b=%20`)
  t.equal(seen.url, '/live?a=1&b=%20')
  t.notOk(JSON.stringify(seen).includes(token))
  const elsewhere = await refused(t, { url: `${gateway.url}/strip?api_key=${token}` })
  t.equal(elsewhere.status, 400)
  t.notOk(gateway.stdout().includes(token))
})

t.test('who a JWT names reaches the service, and the end of the JWT ends the socket', async (t) => {
  const jwt = await signJwt('ann', '1h')
  const { seen } = await openAndLook(t, '/people', { headers: { authorization: `Bearer ${jwt}` } })
  t.equal(seen.headers['x-user-id'], 'ann')
  t.equal(JSON.parse(seen.headers['x-user-claims'] ?? '').role, 'admin')
  t.equal(seen.headers.authorization, undefined)
  const page = await openAndLook(t, '/people', {
    protocols: ['realtime', `openai-insecure-api-key.${jwt}`],
  })
  t.equal(page.seen.headers['x-user-id'], 'ann', 'browsers send it as a subprotocol')
  t.equal(page.ws.protocol, 'realtime', 'and hang up when none comes back')
  t.notOk(JSON.stringify(page.seen).includes(jwt))
  t.equal((await refused(t, { url: `${gateway.url}/people` })).status, 401)
  const brief = await signJwt('ann', '2s')
  const ends = await openAndLook(t, '/people', { headers: { authorization: `Bearer ${brief}` } })
  t.match(await ends.closed, { code: 1008, reason: /no longer valid/ })
  t.equal(page.ws.readyState, page.ws.OPEN)
})

t.test('subprotocols pass, but for credentials', async (t) => {
  const { ws, seen } = await openAndLook(t, '/strip', {
    protocols: ['chat.v1', 'chat.v2', `openai-insecure-api-key.${token}`],
  })
  t.equal(ws.protocol, 'chat.v2')
  t.equal(seen.headers['sec-websocket-protocol'], 'chat.v1, chat.v2')
})

t.test('R1: both forms of a session lead to the one that the service has', async (t) => {
  const cases = {
    '/short?session_id=test-123&x=1': '/ws/test-123?x=1',
    '/short/test-123?x=1': '/ws/test-123?x=1',
    '/query?x=1&session_id=test-123': '/ws?x=1&session_id=test-123',
    '/query/test-123?x=1': '/ws?session_id=test-123&x=1',
  }
  for (const [path, expected] of Object.entries(cases)) {
    const { seen, ws } = await openAndLook(t, path)
    t.equal(seen.url, expected, path)
    ws.close()
  }
  const before = echo.seen.length
  for (const path of [
    '/short/..%2fadmin',
    '/short?session_id=../admin',
    '/short?session_id=%2e%2e',
    '/short?session_id=a%2Fb',
    '/short/a/b',
    '/short/a?session_id=b',
    '/query/..%5c',
  ])
    t.equal((await refused(t, { url: gateway.url + path })).status, 400, path)
  t.equal(echo.seen.length, before)
})

t.test('a target that cannot be dialed is passed over, and all of them dead are 502 at once', async (t) => {
  for (let count = 0; count < 3; count += 1) {
    const { ws } = await openAndLook(t, '/many')
    ws.terminate()
  }
  const dead = await refused(t, { url: `${gateway.url}/dead` })
  t.equal(dead.status, 502)
  t.match(JSON.parse(dead.body).error, { code: 'upstream_failed', message: /service/ })
  t.notMatch(dead.body, /127\.0\.0\.1|ECONN/)
  t.match(await gateway.waitForLine(({ route, status }) => route === '/dead' && status === 502), {
    attempts: 2,
  })
  const { ws } = await openAndLook(t, '/reset')
  ws.terminate()
  const once = await refused(t, { url: `${gateway.url}/once` })
  t.equal(once.status, 502, 'what was sent goes to another one only where the route says so')
})

t.test('a service that does not answer the handshake is 504 by the time of its route', async (t) => {
  const asked = performance.now()
  const seen = await refused(t, { url: `${gateway.url}/silent` })
  t.equal(seen.status, 504)
  t.match(JSON.parse(seen.body).error, { code: 'upstream_timeout' })
  t.ok(performance.now() - asked < 5000)
})

t.test("a service's refusal passes with its words, and a redirect does not", async (t) => {
  for (const [status, body] of [
    [401, 'who'],
    [403, 'no'],
    [404, ''],
    [429, 'slow'],
    [503, 'later'],
  ] as const) {
    const seen = await refused(t, { url: `${gateway.url}/refusing/${status}/${body}` })
    t.equal(seen.status, status)
    t.equal(seen.body, body)
    t.match(seen.headers, {
      'content-type': 'text/plain',
      'www-authenticate': 'Basic realm="the service"',
      'set-cookie': ['sid=1; Path=/refusing'],
    })
    t.equal(seen.headers['x-internal-host'], undefined)
  }
  for (const status of [200, 301, 302, 307]) {
    const seen = await refused(t, { url: `${gateway.url}/refusing/${status}/elsewhere` })
    t.equal(seen.status, 502, String(status))
    t.equal(seen.headers.location, undefined)
  }
  const { ws } = await openAndLook(t, '/second')
  ws.terminate()
})

t.test(
  'limits of a route count handshakes, bound messages, and one caller has so many sockets',
  async (t) => {
    for (let count = 0; count < 2; count += 1)
      (await openAndLook(t, '/counted', { headers: bearer })).ws.close()
    const third = await refused(t, { url: `${gateway.url}/counted`, token })
    t.equal(third.status, 429)
    t.match(third.headers, { 'x-ratelimit-remaining': '0', 'retry-after': /\d/ })
    const small = await openAndLook(t, '/small')
    small.ws.send('x'.repeat(100))
    t.equal((await small.next()).length, 100)
    small.ws.send('x'.repeat(101))
    t.equal((await small.closed).code, 1009)
    const jwts = [
      await signJwt('bob', '1h'),
      await signJwt('bob', '2h'),
      await signJwt('carl', '1h'),
    ] as const
    const open = (jwt: string) => openAndLook(t, '/people', { headers: { authorization: `Bearer ${jwt}` } })
    const three = [await open(jwts[0]), await open(jwts[1]), await open(jwts[0])]
    const fourth = await refused(t, { url: `${gateway.url}/people`, token: jwts[1] })
    t.equal(fourth.status, 429, 'a person counts by name, not by JWT')
    await open(jwts[2])
    three[0]?.ws.close()
    await three[0]?.closed
    await waitUntil(
      () =>
        open(jwts[1]).then(
          () => true,
          () => false,
        ),
      (isOpen) => isOpen,
    )
  },
)

t.test('a handshake is a GET: methods and open paths hold for it', async (t) => {
  const posted = await refused(t, { url: `${gateway.url}/posted` })
  t.equal(posted.status, 405)
  t.equal(posted.headers.allow, 'POST')
  await openAndLook(t, '/mixed/public/x')
  t.equal((await refused(t, { url: `${gateway.url}/mixed/private` })).status, 401)
  t.equal((await refused(t, { url: `${gateway.url}/http/x` })).status, 426)
  t.equal((await fetch(`${gateway.url}/short/x`)).status, 426)
})

t.test(
  "pages connect by the rules of the route, else by CORS_ALLOWLIST, or from the gateway's own host",
  async (t) => {
    const connect = (path: string, origin: string) =>
      openAndLook(t, path, { headers: { origin } }).then(
        ({ ws, seen }) => {
          ws.terminate()
          return seen.headers.origin
        },
        (error: Error) => /(\d{3})$/.exec(error.message)?.[1],
      )
    t.equal(await connect('/page', PAGE), PAGE)
    t.equal(await connect('/page', 'https://listed.example.com'), '403')
    t.equal(await connect('/page', 'https://evil.example.org'), '403')
    t.equal(await connect('/page', 'null'), '403')
    t.equal(await connect('/open', 'https://listed.example.com'), 'https://listed.example.com')
    t.equal(await connect('/open', PAGE), '403')
    t.equal(await connect('/open', gateway.url), gateway.url)
    t.equal(await connect('/open', gateway.url.replace('127.0.0.1', 'localhost')), '403')
  },
)

t.test('a socket that is over leaves a row: who, where, how much', async (t) => {
  const { ws, closed, next } = await openAndLook(t, '/strip/rooms/4711?secret=1', {
    headers: { ...bearer, 'x-request-id': 'row-of-a-socket' },
  })
  ws.send('hello')
  t.equal(await next(), 'hello')
  ws.close(1000)
  await closed
  const [row] = await waitUntil(
    () => readRows(gateway, 'row-of-a-socket'),
    (rows) => rows.length === 1,
  )
  t.match(row, {
    endpoint: 'service',
    status: 101,
    method: 'GET',
    path: '/strip/rooms/{id}',
    user: 'testuser',
  })
  t.ok(Number(row?.bytes_in) >= 11 && Number(row?.bytes_out) > 100)
})
