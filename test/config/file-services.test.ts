import fc from 'fast-check'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { buildCatalog } from '../../src/config/catalog/models-file.ts'
import type { ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import { buildRoute } from '../../src/config/catalog/service-row.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { mayPassUp } from '../../src/services/heads/passing-headers.ts'

type Env = Record<string, string>

const JWT = { JWT_SECRET: 'a-secret-of-more-than-32-characters' }
const KEY = { INTERNAL_API_KEY: 'a-key-of-24-characters-00' }
const TO = { to: 'http://a:1' }

const build = (text: string, env: Env = {}) => buildCatalog({ settings: readSettings(env), text })

const rowOf = (row: unknown, env: Env = {}): ServiceRoute | undefined =>
  build(stringify({ services: { '/a': row } }), env).services.routes[0]

const mistakesOf = (content: unknown, env: Env = {}): readonly string[] => {
  try {
    build(typeof content === 'string' ? content : stringify(content), env)
    return []
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes
    throw error
  }
}

t.test('a row says what it says, and the rest is as usual', async (t) => {
  const target = { origin: 'http://a:1', basePath: '' }
  t.same(
    rowOf(TO),
    buildRoute({
      prefix: '/a',
      targets: [target],
      methods: undefined,
      tokenTypes: undefined,
      cors: undefined,
      sticky: undefined,
      check: undefined,
      limits: { perMinute: undefined, perDay: undefined, inFlight: undefined, maxBodyBytes: undefined },
    }),
  )
  const table: [object, Partial<ServiceRoute>, Env?][] = [
    [{ to: ['http://a:1', 'wss://b/x/'] }, { targets: [target, { origin: 'https://b', basePath: '/x' }] }],
    [{ to: 'http://a:1, http://b' }, { targets: [target, { origin: 'http://b', basePath: '' }] }],
    [
      { to: 'ws://a:1/ws?session_id={session_id}' },
      { targets: [{ origin: 'http://a:1', basePath: '/ws', session: { name: 'session_id', in: 'query' } }] },
    ],
    [
      { ...TO, name: 'users', path: 'keep', serves: 'http' },
      { name: 'users', keepsPrefix: true, serves: 'http' },
    ],
    [
      { to: 'http://a:1/v2', path: 'replace' },
      { keepsPrefix: false, targets: [{ origin: 'http://a:1', basePath: '/v2' }] },
    ],
    [
      { ...TO, methods: ['GET', 'PATCH'], usage: false },
      { methods: ['GET', 'PATCH'], writesUsage: false },
    ],
    [
      { ...TO, auth: 'open' },
      { entry: 'open', cookies: true },
    ],
    [{ ...TO, auth: 'open', cookies: false }, { cookies: false }],
    [{ ...TO, auth: 'any', tokens: { types: ['admin'] } }, { entry: 'any', tokenTypes: ['admin'] }, JWT],
    [
      { ...TO, auth: 'jwt', claims: { role: ['admin', 3], scope: 'read', 'x-ok': true } },
      { claims: { role: ['admin', '3'], scope: ['read'], 'x-ok': ['true'] } },
      JWT,
    ],
    [
      { ...TO, open: ['/login', 'POST /register', '/public/*'] },
      {
        openPaths: [
          { method: undefined, path: '/login', isTree: false },
          { method: 'POST', path: '/register', isTree: false },
          { method: undefined, path: '/public', isTree: true },
        ],
      },
    ],
    [
      { ...TO, limits: { perMinute: 1, perDay: 2, inFlight: 3, bodyBytes: 4 } },
      { limits: { perMinute: 1, perDay: 2, inFlight: 3, maxBodyBytes: 4 } },
    ],
    [
      { ...TO, timeouts: { connectMs: 5, totalMs: 1_200_000 } },
      { timeouts: { connectMs: 5, totalMs: 1_200_000 } },
    ],
    [
      { ...TO, retry: { attempts: 3, on: ['dial', 'reset', 502], methods: ['GET'] } },
      { retry: { attempts: 3, onReset: true, statuses: [502], methods: ['GET'] } },
    ],
    [{ ...TO, retry: { attempts: 1 } }, { retry: { attempts: 1, onReset: false, statuses: [] } as never }],
    [
      {
        ...TO,
        headers: {
          request: { set: { 'X-Tenant': 7 }, remove: ['Accept-Language'], pass: ['authorization'] },
          response: { set: { 'Cache-Control': 'no-store' }, remove: ['Server'] },
        },
      },
      {
        requestHeaders: { set: { 'x-tenant': '7' }, remove: ['accept-language'], pass: ['authorization'] },
        responseHeaders: { set: { 'cache-control': 'no-store' }, remove: ['server'], pass: [] },
      },
    ],
    [
      {
        ...TO,
        cors: { origins: ['https://App.example.com:443', 'https://*.vercel.app'], credentials: true },
      },
      { cors: { origins: ['https://app.example.com', 'https://*.vercel.app'], credentials: true } },
    ],
    [{ ...TO, paths: ['/orders/{id}', '/files/*', '/'] }, { paths: ['/orders/{id}', '/files/*', '/'] }],
    [{ ...TO, internalKey: false }, { sendsInternalKey: false }, KEY],
    [TO, { sendsInternalKey: true }, KEY],
    [{ to: 'http://13.58.115.166', allowInsecure: true }, {}],
    [
      { ...TO, balance: 'least-in-flight', sticky: { cookie: 'sid' } },
      { balance: 'least-in-flight', sticky: { in: 'cookie', name: 'sid' } },
    ],
    [{ ...TO, sticky: { header: 'X-Session' } }, { sticky: { in: 'header', name: 'x-session' } }],
    [
      { ...TO, health: { path: '/health?full=1', everyMs: 1000 } },
      { check: { path: '/health?full=1', everyMs: 1000, timeoutMs: 1000, failures: 2, successes: 1 } },
    ],
    [{ ...TO, 'x-note': 'mine' }, { prefix: '/a' }],
  ]
  for (const [row, expected, env] of table) t.match(rowOf(row, env), expected, JSON.stringify(row))
})

/** What one row is refused with; each text once. */
const refuses = (t: Test, row: unknown, texts: readonly RegExp[], env: Env = JWT) => {
  const mistakes = mistakesOf({ services: { '/a': row } }, env)
  t.equal(mistakes.length, texts.length, mistakes.join('\n'))
  for (const text of texts)
    t.ok(
      mistakes.some((mistake) => text.test(mistake)),
      `${text} in ${mistakes.join('\n')}`,
    )
}

t.test('what a row cannot mean is told with its path', async (t) => {
  const table: [object | null | string, RegExp[]][] = [
    [null, [/^MODELS_FILE: services\.\/a must be object, such as \{ to: "http:\/\/users:3000" \}$/]],
    ['http://a', [/services\.\/a must be object, such as/]],
    [
      {
        ...TO,
        headers: { request: { set: { 'x-user-id': 'a' }, pass: ['x'] }, response: { remove: ['te'] } },
      },
      [/pass\[0\] must be one of/, /set\.x-user-id is the gateway's own/, /remove\[0\] is a matter of one/],
    ],
    [{}, [/services\.\/a lacks to: add it$/]],
    [{ too: 'http://a' }, [/a\.too is not a setting \(did you mean "to"\?\)/, /lacks to/]],
    [{ to: '' }, [/a\.to must lead to a URL/]],
    [{ to: [] }, [/a\.to must be a URL or a list|a\.to must name at least one/]],
    [{ to: 7 }, [/a\.to must be a URL or a list of URLs/]],
    [{ to: 'http://me:hunter2@a' }, [/a\.to must lead to a URL without user name and password$/]],
    [{ to: 'http://a?b=c' }, [/a\.to must lead to a URL that ends with its path/]],
    [{ to: ['http://a', 'a'] }, [/a\.to \(URL 2\) must lead to a URL/]],
    [{ to: 'http://example.com' }, [/a\.to leads over plain HTTP to example\.com.*allowInsecure: true/]],
    [{ ...TO, path: 'replace' }, [/a\.path is replace: write into "to" what stands in the place/]],
    [{ ...TO, auth: 'tokn' }, [/a\.auth must be one of token, jwt, any, open|did you mean "token"/]],
    [{ ...TO, serves: 'ws' }, [/a\.serves must be one of http, websocket, both/]],
    [
      { ...TO, methods: ['get', 'FETCH'] },
      [/methods\[0\] must be one of .* \(write GET\)/, /methods\[1\] must/],
    ],
    [{ ...TO, methods: [] }, [/a\.methods must name at least one entry/]],
    [{ ...TO, methods: ['POST'], serves: 'websocket' }, [/a\.methods must name GET: the handshake/]],
    [{ ...TO, open: ['login'] }, [/a\.open\[0\] must be a path below the public one/]],
    [{ ...TO, open: ['/../b'] }, [/a\.open\[0\] must be a path below/]],
    [{ ...TO, open: ['/a/login'] }, [/a\.open\[0\] is meant below \/a: write \/login alone/]],
    [{ ...TO, open: ['POST /x'], methods: ['GET'] }, [/a\.open\[0\] names POST, which is none/]],
    [{ ...TO, open: ['/x'], auth: 'open' }, [/a\.open says nothing where auth is open/]],
    [{ ...TO, claims: { role: 'admin' } }, [/a\.claims are of a JWT.*add "auth: jwt"/]],
    [{ ...TO, auth: 'jwt', claims: { role: [] } }, [/a\.claims\.role must/]],
    [{ ...TO, auth: 'jwt', claims: ['role'] }, [/a\.claims must be object/]],
    [{ ...TO, auth: 'jwt', tokens: { types: ['admin'] } }, [/a\.tokens are not asked for/]],
    [{ ...TO, tokens: { types: ['root'] } }, [/a\.tokens\.types\[0\] must be one of user, admin/]],
    [
      { ...TO, limits: { perMinute: 0, perHour: 1 } },
      [/limits\.perMinute must be a whole number/, /perHour is not/],
    ],
    [{ ...TO, timeouts: { connectMs: 1.5 } }, [/timeouts\.connectMs must be a whole number of milli/]],
    [
      { ...TO, timeouts: { totalMs: 1_200_001 } },
      [/timeouts\.totalMs must be at most 1200000: TOTAL_TIMEOUT_MS/],
    ],
    [
      { ...TO, timeouts: { totalMs: 10, idleMs: 11 } },
      [/timeouts\.idleMs must be at most 10, which is the row's totalMs/],
    ],
    [{ ...TO, retry: { methods: ['POST'] } }, [/retry\.methods\[0\] must be one of GET.*never asked twice/]],
    [
      { ...TO, retry: { on: [500], attempts: 9 } },
      [/retry\.on\[0\] must be one of dial/, /retry\.attempts must/],
    ],
    [
      { ...TO, headers: { request: { set: { Host: 'a' } } } },
      [/headers\.request\.set\.Host is the gateway's own/],
    ],
    [
      { ...TO, headers: { request: { set: { 'a b': 'x', ok: 'x\ny' } } } },
      [/set\.a b is no name/, /set\.ok must be a text/],
    ],
    [{ ...TO, headers: { request: { remove: ['x_a'] } } }, [/headers\.request\.remove\[0\] has a "_"/]],
    [{ ...TO, headers: { request: { set: { a: 'x', A: 'y' } } } }, [/set\.A is there twice/]],
    [
      { ...TO, headers: { request: { pass: ['x-a'] } } },
      [/request\.pass\[0\] must be one of .*all others pass/],
    ],
    [
      { ...TO, headers: { response: { set: { 'Access-Control-Allow-Origin': '*' } } } },
      [/is what "cors" says/],
    ],
    [
      { ...TO, headers: { response: { remove: ['Connection'] } } },
      [/response\.remove\[0\] is a matter of one connection/],
    ],
    [{ ...TO, cors: { origins: ['*'] } }, [/cors\.origins\[0\] would let every web page in/]],
    [
      { ...TO, cors: { origins: ['https://<you>.vercel.app'] } },
      [/cors\.origins\[0\] is still a placeholder/],
    ],
    [
      { ...TO, paths: ['orders', '/a/orders', '/x?y'] },
      [/paths\[0\] must be/, /paths\[1\] is meant below \/a: write \/orders/, /paths\[2\] must/],
    ],
    [{ ...TO, internalKey: true }, [/a\.internalKey needs INTERNAL_API_KEY/]],
    [{ ...TO, sticky: { cookie: 'a b' } }, [/sticky\.cookie must be the name of a cookie/]],
    [{ ...TO, sticky: { cookie: 'a', header: 'b' } }, [/sticky must name either a cookie or a header/]],
    [{ ...TO, sticky: {} }, [/sticky must name either/]],
    [{ ...TO, health: { path: 'health' } }, [/health\.path must be a path of the service/]],
    [{ ...TO, health: { path: '//[' } }, [/health\.path must be a path of the service/]],
    [{ ...TO, health: { path: '/\\x' } }, [/health\.path must be a path of the service/]],
    [
      { ...TO, health: { path: '/h', everyMs: 1000, timeoutMs: 1001 } },
      [/health\.timeoutMs must be at most everyMs/],
    ],
    [{ ...TO, name: 'a b' }, [/a\.name must be a short name/]],
  ]
  for (const [row, texts] of table) refuses(t, row, texts)
  refuses(t, { ...TO, auth: 'jwt' }, [/lets in who has a JWT, and none can be verified: set JWT_SECRET/], {})
  refuses(t, { ...TO, auth: 'any' }, [/none can be verified/], {})
  t.notMatch(mistakesOf({ services: { '/a': { to: 'http://me:hunter2@a' } } }).join(), /hunter2/)
})

t.test('all mistakes of all rows are told at once', async (t) => {
  const services = {
    '/a': { to: 'x', auth: 'tokn', claims: { role: 'admin' }, open: ['/a/x'], limits: { perMinute: -1 } },
    '/b/*': { too: 'http://b', timeouts: { totalMs: 9_999_999 } },
    '/health/services': TO,
    '/V1/Models': TO,
    '/c': { ...TO, sticky: { cookie: 1 }, health: { path: 'x' } },
  }
  const mistakes = mistakesOf({ services, margn: 1 })
  const texts = [
    /\/a\.to must lead/,
    /\/a\.auth must be/,
    /\/a\.limits\.perMinute must/,
    /\/b\/\*\.too is not a setting/,
    /\/b\/\* lacks to/,
    /\/b\/\* must begin with a plain path.*write \/b, which covers all below it/,
    /\/b\/\*\.timeouts\.totalMs must be at most/,
    /\/health\/services covers a path/,
    /\/V1\/Models covers a path/,
    /\/c\.sticky\.cookie must be/,
    /\/c\.health\.path must/,
    /margn is not a setting/,
  ]
  for (const text of texts) t.equal(mistakes.filter((mistake) => text.test(mistake)).length, 1, String(text))
  t.equal(mistakes.length, texts.length, mistakes.join('\n'))
})

t.test('a public path is one that the gateway has not itself', async (t) => {
  const of = (path: string) => mistakesOf({ services: { [path]: TO } })
  for (const path of `/health /health/services /ready /metrics /admin /admin/x /v1/models /v1/token /v1/chat/completions /v1 /
    /HEALTH/x /v1/Messages`.split(/\s+/))
    t.match(of(path), [/covers a path that the gateway|must begin with a plain path/], path)
  for (const path of [
    'api',
    '/a//b',
    '/a/../b',
    '/a b',
    '/a?b',
    '/a%20b',
    '/a/:id',
    '/a/{proxy}',
    '/a/(.*)',
    'http://x/a',
    '',
  ])
    t.match(of(path), [/must begin with a plain path/], path)
  for (const path of ['/api', '/api/', '/proxy', '/v1/files', '/a.b/c_d~e-f', '/healthy', '/socket.io'])
    t.same(of(path), [], path)
})

t.test('one path leads to one place for each kind', async (t) => {
  const services = (rows: object) => ({ services: rows })
  const twice = /services\.\/a has the path of/
  t.match(mistakesOf(services({ '/a': TO, '/a/': TO })), [
    /services\.\/a\/ has the path of .*services\.\/a: give/,
  ])
  t.match(mistakesOf(services({ '/a': TO, '/A': TO })), [/\/A has, but for the case of letters, the path of/])
  t.match(mistakesOf(services({ '/a': TO }), { WS_ROUTES: '/a=ws://b' }), [twice])
  t.match(mistakesOf(services({ '/a': TO }), { PASSTHROUGH_PATHS: '/a=https://b' }), [twice])
  t.match(mistakesOf(services({ '/api/users': TO }), { ...KEY, USER_SERVICE_URL: 'http://b' }), [
    /has the path of USER_SERVICE_URL \(\/api\/users\)/,
  ])
  t.match(mistakesOf('services:\n  /a: { to: "http://a" }\n  /a: { to: "http://b" }\n'), [
    /keys must be unique/,
  ])
  t.same(mistakesOf(services({ '/a': { ...TO, serves: 'http' } }), { WS_ROUTES: '/a=ws://b' }), [])
  t.same(mistakesOf({ services: { '/a': { ...TO, serves: 'http' } }, wsRoutes: { '/a': 'ws://b' } }), [])
  t.same(mistakesOf(services({ '/a': { ...TO, serves: 'websocket' }, '/a/b': TO })), [])
})

t.test('QUERY_API_KEYS names rows that take tokens', async (t) => {
  const env = { INTERNAL_API_BASE_URL: 'http://i', QUERY_API_KEYS: 'proxy, orders' }
  const { services } = build(stringify({ services: { '/a': { ...TO, name: 'orders' }, '/b': TO } }), env)
  t.same(
    services.routes.map(({ name, takesQueryKey }) => [name, takesQueryKey]),
    [
      ['proxy', true],
      ['orders', true],
      ['/b', false],
    ],
  )
  t.match(mistakesOf({ services: { '/a': { ...TO, name: 'orders' } } }, { QUERY_API_KEYS: 'order' }), [
    /^QUERY_API_KEYS names no route \(did you mean "orders"\?\)/,
  ])
  t.match(mistakesOf({ services: { '/a': { ...TO, auth: 'open' } } }, { QUERY_API_KEYS: '/a' }), [
    /takes no token at all/,
  ])
})

t.test('a file of services alone leaves the models as they are', async (t) => {
  const env = { OPENAI_API_KEY: 'sk-1' }
  const usual = buildCatalog({ settings: readSettings(env) })
  const catalog = build(stringify({ services: { '/a': TO } }), env)
  t.same([...catalog.models.keys()], [...usual.models.keys()])
  t.ok(catalog.find('whatever-nobody-listed')?.asksOnlyOne, 'any name, as without a file')
  t.match(mistakesOf({}), [/the file lacks models/])
  t.match(mistakesOf({ services: {}, models: {} }), [/models must name at least one entry/])
  t.same(mistakesOf('x-usual: &usual { to: "http://a" }\nservices: { x-mine: 1, /a: { <<: *usual } }'), [])
})

t.test('a rule is refused for the very headers that no service would get by it', async (t) => {
  const names = `host via te expect upgrade connection keep-alive content-length transfer-encoding x-internal-api-key
    x-internal-anything x-user-id x-user-claims x-token-id x-forwarded-for x-forwarded-anything forwarded x-real-ip x-request-id
    traceparent tracestate sec-websocket-key client-ip true-client-ip x-client-ip x-cluster-client-ip fastly-client-ip
    x-original-url x-rewrite-url x-host proxy remote-user x-remote-user cf-connecting-ip cf-connecting-ipv6 x-azure-clientip
    x-envoy-external-address x-appengine-user-ip a_b accept user-agent authorization cookie x-api-key x-tenant content-type
    forwarded-for proxy-client-ip wl-proxy-client-ip http-client-ip do-connecting-ip fly-client-ip x.user.id x.client~ip x.tenant
    x-users x-user origin referer accept-encoding proxy-authorization http2-settings x-original-host x-originating-ip`
  for (const name of names.split(/\s+/)) {
    const isRefused =
      mistakesOf({ services: { '/a': { ...TO, headers: { request: { set: { [name]: 'x' } } } } } }).length > 0
    t.equal(isRefused, !mayPassUp(name) && !['x-api-key', 'api-key', 'x-goog-api-key'].includes(name), name)
  }
})

const key = fc.constantFrom(
  ...[
    'to',
    'auth',
    'open',
    'claims',
    'tokens',
    'limits',
    'timeouts',
    'retry',
    'headers',
    'cors',
    'paths',
    'sticky',
    'health',
  ],
  ...[
    'methods',
    'name',
    'path',
    'serves',
    'balance',
    'request',
    'set',
    'on',
    'types',
    'cookie',
    '__proto__',
    'x-y',
  ],
)
const word = fc.oneof(
  fc.constantFrom('http://a:1', 'ws://b/{s}', '/x', 'GET', 'jwt', 'open', 'http', ''),
  fc.string({ maxLength: 8 }),
)
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    word,
    fc.integer(),
    fc.constant(null),
    fc.boolean(),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(key, tie('value'), { maxKeys: 6 }),
  ),
}))

t.test('whatever stands in a row, it is a row or it is mistakes with its path', async (t) => {
  fc.assert(
    fc.property(fc.dictionary(key, value, { maxKeys: 8 }), (row) => {
      const mistakes = mistakesOf(JSON.stringify({ services: { '/a': { to: 'http://a', ...row } } }), JWT)
      for (const mistake of mistakes) t.match(mistake, /^MODELS_FILE: services\.\/a/)
    }),
    { numRuns: 1500 },
  )
})
