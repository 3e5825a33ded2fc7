import { once } from 'node:events'
import { connect } from 'node:net'
import { PassThrough } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { drain, guard, makeRequestId, requestId } from '../../src/entrance/arrival.ts'
import { isAllowedOrigin, routeCors } from '../../src/entrance/cors.ts'
import { clientErrorHandler, errorReply, frameworkErrors } from '../../src/entrance/error-reply.ts'
import { health } from '../../src/entrance/health.ts'
import { invalidRequest, upstreamFailed } from '../../src/errors.ts'
import { quietRequests } from '../../src/http-server.ts'
import { openLog } from '../../src/telemetry/logger/logger.ts'
import { requestLine } from '../../src/telemetry/request-line.ts'

const addRoutes = (app: FastifyInstance): void => {
  app.get('/v1/models/*', () => ({ ok: true }))
  app.post(
    '/v1/echo',
    { schema: { body: { type: 'object', properties: { n: { type: 'integer' } } } } },
    () => 'ok',
  )
  app.post('/v1/messages', () => {
    throw invalidRequest('Send "messages".', { param: 'messages' })
  })
  app.get('/boom', () => {
    throw new Error('SELECT secret FROM /etc/internal 10.0.0.1')
  })
  app.get('/upstream', () => {
    throw upstreamFailed('No provider answered.', {
      retryAfterMs: 1500,
      cause: new Error('connect 10.0.0.1:443'),
    })
  })
  app.get('/stream', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, {
      'content-type': 'text/event-stream',
      ...(reply.getHeaders() as Record<string, string>),
    })
    reply.raw.write('data: 1\n\n')
  })
}

const open = async (t: Test, allowlist: string[] = []) => {
  const stdout = new PassThrough()
  let text = ''
  stdout.on('data', (bytes) => {
    text += bytes
  })
  const log = openLog({ dir: t.testdir(), level: 'debug', stdout })
  const app = Fastify({
    loggerInstance: log.logger,
    logController: quietRequests,
    genReqId: makeRequestId(),
    bodyLimit: 1000,
    // Each of these reads until the server closes: a connection that it keeps would hold the test for a minute.
    keepAliveTimeout: 500,
    clientErrorHandler,
    frameworkErrors,
  })
  await app.register(drain)
  await app.register(requestId)
  await app.register(requestLine, { count: () => undefined })
  await app.register(errorReply)
  await app.register(routeCors, { allowlist })
  await app.register(guard)
  await app.register(health, { isReady: () => !app.drain.isDraining })
  addRoutes(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    await app.close()
    await log.close()
  })
  const address = app.server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const lines = async () => {
    await log.flush()
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  }
  return { app, port, lines, text: () => text }
}

/** Sends bytes as they are and reads until the other side closes. */
const sendRaw = async (port: number, bytes: string): Promise<string> => {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk
  })
  socket.on('error', () => undefined)
  socket.write(bytes)
  await once(socket, 'close')
  return answer
}

const statusOf = (answer: string): number => Number(answer.slice(9, 12))
const bodyOf = (answer: string) => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))
const get = (path: string, extra = '') =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\n${extra}Connection: close\r\n\r\n`

t.test('hostile requests get a clear answer in the error shape that clients parse', async (t) => {
  const { port, app } = await open(t)
  const manyHeaders = Array.from({ length: 101 }, (_, index) => `x-h${index}: 1\r\n`).join('')
  const cases: [string, string, number, string][] = [
    ['an absolute URL', get('http://evil/v1/models/a'), 400, 'invalid_request'],
    ['101 headers', get('/v1/models/a', manyHeaders), 431, 'headers_too_large'],
    ['100 kB of headers', get('/v1/models/a', `x: ${'a'.repeat(100_000)}\r\n`), 431, 'headers_too_large'],
    [
      'two credentials',
      get('/v1/models/a', 'Authorization: Bearer a\r\nauthorization: Bearer b\r\n'),
      400,
      'invalid_request',
    ],
    ['two hosts', get('/v1/models/a', 'Host: b\r\n'), 400, 'invalid_request'],
    ['dots in the path', get('/v1/models/../admin'), 400, 'invalid_request'],
    ['encoded dots', get('/v1/models/%2E%2e/admin'), 400, 'invalid_request'],
    ['dots and an encoded slash', get('/v1/models/..%2fadmin'), 400, 'invalid_request'],
    ['dots with a parameter', get('/v1/models/..;x/admin'), 400, 'invalid_request'],
    ['encoded dots with a parameter', get('/v1/models/%2e%2E;/admin'), 400, 'invalid_request'],
    ['an encoded NUL', get('/v1/models/a%00b'), 400, 'invalid_request'],
    ['a backslash', get('/v1/models/a\\b'), 400, 'invalid_request'],
    ['an encoded backslash', get('/v1/models/a%5cb'), 400, 'invalid_request'],
    ['a broken percent code', get('/v1/models/%zz'), 400, 'invalid_request'],
    ['a NUL in a header', get('/v1/models/a', 'x: a\0b\r\n'), 400, 'invalid_request'],
    ['no HTTP at all', '\x16\x03\x01 hello\r\n\r\n', 400, 'invalid_request'],
    ['an unknown path', get('/nowhere'), 404, 'not_found'],
    [
      'an unknown method',
      'PUT /boom HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
      404,
      'not_found',
    ],
    [
      'broken JSON',
      'POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{',
      400,
      'invalid_json',
    ],
    [
      'a poisoned body',
      'POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"__proto__":{}}',
      400,
      'invalid_json',
    ],
    [
      'a large body',
      'POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n',
      413,
      'request_too_large',
    ],
    [
      'a strange type',
      'POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\nx',
      415,
      'unsupported_media_type',
    ],
    [
      'a wrong type',
      'POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"n":"x"}',
      400,
      'invalid_request',
    ],
    ['a failure of ours', get('/boom'), 500, 'internal_error'],
  ]
  for (const [name, bytes, status, code] of cases) {
    const answer = await sendRaw(port, bytes)
    t.equal(statusOf(answer), status, name)
    const { error } = bodyOf(answer)
    t.strictSame(Object.keys(error), ['message', 'type', 'param', 'code'], name)
    t.equal(error.code, code, name)
    t.notMatch(error.message, /SELECT|10\.0\.0|node_modules|src\//, name)
    t.match(answer, /x-request-id: req_/i, name)
    t.match(answer, status < 500 ? /x-should-retry: false/i : /x-should-retry: true/i, name)
  }
  t.equal((await app.inject('/v1/models/openai%2Fgpt-4o')).statusCode, 200, 'a model id may hold a slash')
})

t.test('a credential in the URL is refused on every path, and called exposed', async (t) => {
  const { app } = await open(t)
  for (const name of [
    'api_key',
    'apikey',
    'API_Key',
    'key',
    'token',
    'access_token',
    'masterToken',
    'authorization',
    '%74oken',
  ]) {
    for (const path of ['/v1/models/a', '/nowhere', '/health']) {
      const answer = await app.inject(`${path}?a=1&${name}=gw-secret`)
      t.equal(answer.statusCode, 400, `${path} ${name}`)
      t.match(answer.json(), { error: { code: 'credential_in_url', message: /exposed/ } })
    }
  }
  t.equal((await app.inject('/v1/models/a?max_tokens=5&monkey=1')).statusCode, 200)
})

t.test('errors carry retry advice, and Anthropic clients get their own shape', async (t) => {
  const { app, lines } = await open(t)
  const down = await app.inject('/upstream')
  t.equal(down.statusCode, 502)
  t.match(down.headers, { 'retry-after': '2', 'retry-after-ms': '1500', 'x-should-retry': 'true' })
  const refused = await app.inject({
    method: 'POST',
    url: '/v1/messages',
    headers: { 'x-request-id': 'mine-1' },
  })
  t.strictSame(refused.json(), {
    type: 'error',
    error: { type: 'invalid_request_error', message: 'Send "messages".' },
    request_id: 'mine-1',
  })
  t.notMatch(JSON.stringify(await lines()), /10\.0\.0\.1/)
})

t.test('a request id of the client is kept when it is safe, and every answer has one', async (t) => {
  const { app } = await open(t)
  const ids = new Set<unknown>()
  for (const url of ['/v1/models/a', '/nowhere', '/v1/models/%zz', '/health']) {
    t.equal(
      (await app.inject({ url, headers: { 'x-request-id': 'a.B_c:1-2' } })).headers['x-request-id'],
      'a.B_c:1-2',
    )
    for (const bad of ['', 'a b', 'ü', 'x'.repeat(129), '<script>']) {
      const id = (await app.inject({ url, headers: { 'x-request-id': bad } })).headers['x-request-id']
      t.match(id, /^req_[a-z0-9]{18,}$/)
      ids.add(id)
    }
  }
  t.equal(ids.size, 20)
})

t.test(
  'one line for each request: route pattern, status, 499 for a client that left; health at debug',
  async (t) => {
    const { port, lines } = await open(t)
    await sendRaw(port, get('/v1/models/secret-name?q=private'))
    await sendRaw(port, get('/nowhere/private'))
    await sendRaw(port, get('/health'))
    const socket = connect(port, '127.0.0.1')
    socket.write(get('/stream'))
    await once(socket, 'data')
    socket.destroy()
    let all = await lines()
    while (all.length < 5) {
      await new Promise(setImmediate)
      all = await lines()
    }
    const requests = all.filter(({ msg }) => msg === 'request')
    t.match(requests, [
      {
        route: '/v1/models/*',
        status: 200,
        method: 'GET',
        address: '127.0.0.1',
        requestId: /^req_/,
        latencyMs: Number,
      },
      { route: 'unknown', status: 404, error: 'not_found' },
      { route: '/health', level: 'debug', status: 200 },
      { route: '/stream', status: 499 },
    ])
    t.equal(requests.length, 4)
    t.notMatch(JSON.stringify(all), /private|secret-name/)
  },
)

t.test('an origin is allowed exactly, a wildcard stands for one label', async (t) => {
  const list = [
    'https://app.example.com',
    'https://*.example.app',
    'http://localhost:3000',
    'https://*.p.app:8443',
    'https://my-app-*.v.app',
    'https://*-team.v.app',
  ]
  const yes = [
    'https://app.example.com',
    'HTTPS://App.Example.com',
    'https://a.example.app',
    'https://A-1.EXAMPLE.app',
    'http://localhost:3000',
    'https://x.p.app:8443',
    'https://my-app-git-main.v.app',
    'https://x-team.v.app',
  ]
  const no = [
    'null',
    '',
    'https://evil-example.app',
    'https://example.app',
    'https://.example.app',
    'https://a.b.example.app',
    'http://a.example.app',
    'https://a.example.app:8443',
    'https://a.example.app.evil.io',
    'https://evil.io/.example.app',
    'https://evil.io#.example.app',
    'https://u@x.example.app',
    'http://localhost',
    'http://localhost:30000',
    'https://app.example.com.evil.io',
    'https://app.example.com:443',
    'https://app.example.com/',
    'https://x.p.app',
    'https://*.example.app',
    'https://my-app-.v.app',
    'https://my-app.v.app',
    'https://my-app-.evil.v.app',
    'https://my-app-evil.io/x.v.app',
    'https://evil.my-app-x.v.app',
    'https://-team.v.app',
    'https://é.example.app',
  ]
  for (const origin of yes) t.equal(isAllowedOrigin(origin, list), true, origin)
  for (const origin of no) t.equal(isAllowedOrigin(origin, list), false, origin)
  t.equal(isAllowedOrigin(undefined, list), false)
  t.equal(isAllowedOrigin('null', ['null']), false)
})

t.test(
  'browsers: a preflight needs no token, a foreign origin gets no permission, streams carry theirs',
  async (t) => {
    const { app, port } = await open(t, ['https://*.example.app'])
    const preflight = await app.inject({
      method: 'OPTIONS',
      url: '/v1/echo',
      headers: {
        origin: 'https://a.example.app',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,x-stainless-os',
      },
    })
    t.equal(preflight.statusCode, 204)
    t.match(preflight.headers, {
      'access-control-allow-origin': 'https://a.example.app',
      'access-control-allow-headers': 'authorization,x-stainless-os',
      'access-control-allow-methods': /POST.*DELETE/,
      vary: /Origin/i,
    })
    t.notOk(preflight.headers['access-control-allow-credentials'])
    const foreign = await app.inject({ url: '/v1/models/a', headers: { origin: 'https://evil.app' } })
    t.equal(foreign.statusCode, 200)
    t.notOk(foreign.headers['access-control-allow-origin'])
    t.match(foreign.headers.vary, /Origin/i)
    const refused = await app.inject({ url: '/nowhere', headers: { origin: 'https://a.example.app' } })
    t.match(refused.headers, {
      'access-control-allow-origin': 'https://a.example.app',
      'access-control-expose-headers': /x-request-id/,
    })
    const socket = connect(port, '127.0.0.1')
    socket.write(get('/stream', 'Origin: https://a.example.app\r\n'))
    const [head] = await once(socket, 'data')
    socket.destroy()
    t.match(String(head), /access-control-allow-origin: https:\/\/a\.example\.app/i)
  },
)

t.test('going down: new work is refused, health answers, and idle waits for what runs', async (t) => {
  const { app, port } = await open(t)
  const socket = connect(port, '127.0.0.1')
  socket.write(get('/stream'))
  await once(socket, 'data')
  app.drain.begin()
  let isIdle = false
  const idle = app.drain.idle().then(() => {
    isIdle = true
  })
  const refused = await app.inject('/v1/models/a')
  t.equal(refused.statusCode, 503)
  t.match(refused.headers, { connection: 'close', 'x-should-retry': 'true', 'retry-after-ms': /\d/ })
  t.equal(refused.json().error.code, 'gateway_restarting')
  t.equal((await app.inject('/health')).statusCode, 200)
  t.equal((await app.inject('/ready')).statusCode, 503)
  t.equal(isIdle, false)
  socket.destroy()
  await idle
})

t.test('a second, broken request beside a running stream does not write into the stream', async (t) => {
  const { port } = await open(t)
  const answer = await sendRaw(port, `GET /stream HTTP/1.1\r\nHost: a\r\n\r\n\0garbage\r\n\r\n`)
  t.notMatch(answer, /"error"/)
})
