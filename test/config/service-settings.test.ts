import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { SettingsError } from '../../src/config/mistakes.ts'

type Env = Record<string, string>

const KEY = { INTERNAL_API_KEY: 'a-key-of-24-characters-00' }
const JWT = { JWT_SECRET: 'a-secret-of-more-than-32-characters' }

const rowsOf = (env: Env): Record<string, ServiceRoute> =>
  Object.fromEntries(
    readSettings(env).services.map(({ route }) => [`${route.prefix} ${route.serves}`, route]),
  )

const mistakesOf = (env: Env): readonly string[] => {
  try {
    readSettings(env)
    return []
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes
    throw error
  }
}

const refuses = (t: Test, env: Env, text: RegExp) => {
  const mistakes = mistakesOf(env)
  t.match(mistakes, [text], JSON.stringify(env))
  t.equal(mistakes.length, 1, JSON.stringify(mistakes))
  for (const value of Object.values(env))
    if (value.includes('hunter2')) t.notMatch(mistakes.join(), /hunter2/, 'no text repeats a secret')
}

t.test('each service URL is a row under its name and its plural', async (t) => {
  const table: [Env, string[]][] = [
    [{ USER_SERVICE_URL: 'http://u:1' }, ['/api/user', '/api/users']],
    [{ AUTH_SERVICE_URL: 'http://u' }, ['/api/auth', '/api/auths']],
    [{ CATEGORY_SERVICE_URL: 'http://u' }, ['/api/category', '/api/categories', '/api/categorys']],
    [{ ORDERS_SERVICE_URL: 'http://u' }, ['/api/orders']],
    [{ BIG_JOB2_SERVICE_URL: 'http://u' }, ['/api/big-job2', '/api/big-job2s']],
    [{ A_SERVICE_SERVICE_URL: 'http://u' }, ['/api/a-service', '/api/a-services']],
    [{ INTERNAL_API_BASE_URL: 'http://u/v2/' }, ['/proxy']],
    [{ USER_SERVICE_URL: '', JOB_SERVICE_URL: ' ' }, []],
    [{ USER_SERVICE_URL: 'tcp://10.43.0.5:80', USER_SERVICE_PORT: 'tcp://10.43.0.5:80' }, []],
  ]
  for (const [env, prefixes] of table)
    t.same(
      Object.keys(rowsOf({ ...env, ...KEY })),
      prefixes.map((prefix) => `${prefix} both`),
      JSON.stringify(env),
    )
})

t.test('a service that is called as the plural of another one is meant by it', async (t) => {
  const rows = rowsOf({ ...KEY, USER_SERVICE_URL: 'http://one', USERS_SERVICE_URL: 'http://many' })
  t.same(
    Object.entries(rows).map(([path, { name, targets }]) => [path, name, targets[0]?.origin]),
    [
      ['/api/users both', 'users', 'http://many'],
      ['/api/user both', 'user', 'http://one'],
    ],
  )
})

t.test('a service URL says where to and who may enter', async (t) => {
  const of = (env: Env) => rowsOf({ ...KEY, ...env })['/api/users both']
  t.match(of({ USER_SERVICE_URL: 'http://a:3000/v2/, https://b !open!cookies', USER_SERVICE_PUBLIC: '/x' }), {
    name: 'user',
    targets: [
      { origin: 'http://a:3000', basePath: '/v2' },
      { origin: 'https://b', basePath: '' },
    ],
    entry: 'open',
    cookies: true,
    keepsPrefix: false,
    sendsInternalKey: true,
  })
  t.match(of({ USER_SERVICE_URL: 'ws://a' }), {
    entry: 'token',
    targets: [{ origin: 'http://a' }],
    cookies: false,
  })
  t.match(of({ ...JWT, USER_SERVICE_URL: 'http://a' }), { entry: 'any' })
  t.match(of({ ...JWT, USER_SERVICE_URL: 'http://a!jwt' }), { entry: 'jwt' })
  t.same(
    of({ USER_SERVICE_URL: 'http://a', USER_SERVICE_PUBLIC: '/login, post /register,/public/*,/*' })
      ?.openPaths,
    [
      { method: undefined, path: '/login', isTree: false },
      { method: 'POST', path: '/register', isTree: false },
      { method: undefined, path: '/public', isTree: true },
      { method: undefined, path: '/', isTree: true },
    ],
  )
})

t.test('a service URL without INTERNAL_API_KEY refuses the start and says what to set', async (t) => {
  refuses(
    t,
    { USER_SERVICE_URL: 'http://a' },
    /^USER_SERVICE_URL needs INTERNAL_API_KEY.*openssl rand -hex 32/,
  )
  refuses(
    t,
    { USER_SERVICE_URL: 'http://a', AUTH_SERVICE_URL: 'http://b' },
    /^AUTH_SERVICE_URL, USER_SERVICE_URL need /,
  )
  const blank = { INTERNAL_API_KEY: 'a key with blanks in it', USER_SERVICE_URL: 'http://a' }
  refuses(t, blank, /^INTERNAL_API_KEY holds blanks/)
  const nowhere = { INTERNAL_API_KEY_FILE: '/nonexistent/key', USER_SERVICE_URL: 'http://a' }
  refuses(t, nowhere, /^INTERNAL_API_KEY_FILE cannot be read/)
  t.same(mistakesOf({ INTERNAL_API_BASE_URL: 'http://a' }), [], 'whoever has keys of his own needs none')
})

t.test('an address that cannot be meant is told without being repeated', async (t) => {
  const refused = (url: string, text: RegExp) => refuses(t, { ...KEY, USER_SERVICE_URL: url }, text)
  refused('users:3000', /^USER_SERVICE_URL must lead to a URL that starts with http:\/\//)
  refused('http://', /must lead to a URL that starts/)
  refused('ftp://a', /must lead to a URL that starts/)
  refused('http://me:hunter2@a', /without user name and password/)
  refused('http://a/?hunter2=1', /ends with its path/)
  refused('http://a/{id}/x', /ends with its path/)
  refused('http://a,', /\(URL 2\) must lead/)
  refused('http://a, http://a/', /\(URL 2\) leads twice/)
  refused('http://a!jwt, http://b', /\(URL 1\) .*a mark such as !jwt stands once, behind the last URL/)
  refused('http://a/x!jwt, http://b!jwt', /\(URL 1\) .*a mark such as !jwt stands once/)
  for (const url of ['http://a;http', 'http://*.a', 'http://a:0', "http://a'b"])
    refused(url, /must lead to a URL with the name or the address of a host/)
  refused('http://a//b', /does not begin with two slashes/)
  refused('http://a !opn', /did you mean "open"/)
  refuses(t, { ...KEY, USER_SERVICE_PUBLIC: '/login' }, /^USER_SERVICE_PUBLIC .*set USER_SERVICE_URL$/)
  const open = (paths: string, text: RegExp) =>
    refuses(t, { ...KEY, USER_SERVICE_URL: 'http://a', USER_SERVICE_PUBLIC: paths }, text)
  for (const path of ['login', '/a/../b', '/a//b', '/*/x', '/a?b', 'http://a/x', '/a%2fb', '/./x'])
    open(path, /^USER_SERVICE_PUBLIC entry 1 must be a path below the public one/)
  open(
    '/ok,POST /api/users/login',
    /^USER_SERVICE_PUBLIC entry 2 is meant below \/api\/users: write \/login alone/,
  )
  open('/ok,FETCH /x', /^USER_SERVICE_PUBLIC entry 2 begins with a method/)
  refuses(t, { QUERY_API_KEYS: 'a b' }, /^QUERY_API_KEYS entry 1 must be the name/)
  refuses(t, { ...KEY, INTERNAL_API_BASE_URL: 'x' }, /^INTERNAL_API_BASE_URL must lead/)
})

t.test('plain HTTP is fine to a network of the operator’s, and told of elsewhere', async (t) => {
  const warningsOf = (url: string) => readSettings({ ...KEY, USER_SERVICE_URL: url }).warnings
  for (const host of `users users.svc.cluster.local 10.0.0.5:3000 172.17.0.1 192.168.1.9 127.0.0.1 localhost [::1] [fd00::1]
    a.internal b.home.arpa c.localhost 100.64.0.3`.split(/\s+/))
    t.same(warningsOf(`http://${host}`), [], host)
  for (const host of [
    'users.example.com',
    '13.58.115.166:8000',
    '[2001:db8::1]',
    '172.32.0.1',
    'internal.com',
  ]) {
    t.match(warningsOf(`http://${host}`), [/^USER_SERVICE_URL leads over plain HTTP to/], host)
    t.same(warningsOf(`http://${host}!insecure`), [], host)
    t.same(warningsOf(`https://${host}`), [], host)
  }
})

t.test('the internal key goes to services of the operator’s, and to nobody else', async (t) => {
  const env = {
    PASSTHROUGH_PATHS: '/v1/files,/in=http://10.0.0.5!insecure,/out=https://maps.example.com',
    WS_ROUTES: '/in=ws://b',
  }
  const sends = (rows: Record<string, ServiceRoute>) =>
    Object.entries(rows).map(([path, row]) => [path, row.sendsInternalKey])
  t.same(sends(rowsOf({ ...env, ...KEY, INTERNAL_API_BASE_URL: 'https://api.example.com' })), [
    ['/proxy both', true],
    ['/v1/files http', false],
    ['/in http', true],
    ['/out http', false],
    ['/in websocket', true],
  ])
  t.ok(sends(rowsOf(env)).every(([, isSent]) => isSent === false))
})

t.test('what JWTs are verified by is read whole, from variables or from files', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString().trim()
  const path = join(t.testdir(), 'key')
  writeFileSync(path, `${pem}\n`)
  const env = { JWT_JWKS_URL: 'https://a.example/jwks?v=1', JWT_ISSUER: 'https://a/, b', JWT_AUDIENCE: 'c' }
  const previous = { JWT_SECRET_PREVIOUS: 'the-secret-before-of-32-characters' }
  const whole = { ...JWT, ...previous, ...env, JWT_PUBLIC_KEY_FILE: path, JWT_CLOCK_TOLERANCE_S: '0' }
  t.same(readSettings(whole).jwt(), {
    secret: JWT.JWT_SECRET,
    previousSecret: previous.JWT_SECRET_PREVIOUS,
    publicKey: pem,
    jwksUrl: 'https://a.example/jwks?v=1',
    issuer: ['https://a/', 'b'],
    audience: ['c'],
    toleranceS: 0,
  })
  t.equal(readSettings({ JWT_PUBLIC_KEY: pem.replaceAll('\n', '\\n') }).jwt()?.publicKey, pem)
  t.equal(readSettings({ JWT_PUBLIC_KEY: pem }).jwt()?.publicKey, pem)
  t.equal(readSettings(JWT).jwt()?.toleranceS, 30)
  t.equal(readSettings({ JWT_SECRET: 'a secret with blanks, and ünlike a header' }).jwt()?.secret?.length, 41)
  t.match(readSettings({ JWT_ISSUER: 'a' }).warnings, [/say nothing without JWT_SECRET/])
  t.match(readSettings({ JWT_JWKS_URL: 'https://a.example/jwks' }).warnings, [/without JWT_AUDIENCE/])
  t.match(readSettings({ JWT_JWKS_URL: 'http://keycloak:8080/certs', JWT_AUDIENCE: 'a' }).warnings, [])
})

t.test('a secret between the gateway and services must be one', async (t) => {
  const secret = 'hunter2-hunter2-hunter2-hunter2-hunter2'
  refuses(t, { INTERNAL_API_KEY: 'hunter2' }, /^INTERNAL_API_KEY must have at least 16/)
  refuses(t, { INTERNAL_API_KEY: '<hunter2-random-string>' }, /^INTERNAL_API_KEY is still a placeholder/)
  refuses(t, { JWT_SECRET: secret.slice(0, 31) }, /^JWT_SECRET must have at least 32/)
  refuses(t, { JWT_SECRET: `your-${secret}` }, /^JWT_SECRET is still a placeholder/)
  refuses(t, { INTERNAL_API_KEY: secret, ADMIN_FIRST: secret }, /^INTERNAL_API_KEY is ADMIN_FIRST too/)
  refuses(t, { INTERNAL_API_KEY: secret, JWT_SECRET: secret }, /^INTERNAL_API_KEY is JWT_SECRET too/)
  refuses(t, { ADMIN_FIRST: secret, JWT_SECRET: secret }, /^JWT_SECRET is ADMIN_FIRST too/)
  refuses(t, { JWT_SECRET_PREVIOUS: secret }, /^JWT_SECRET_PREVIOUS stands beside no JWT_SECRET/)
  refuses(t, { JWT_SECRET: `-----BEGIN PUBLIC KEY-----${secret}` }, /^JWT_SECRET is a key and no secret/)
  refuses(t, { JWT_SECRET_FILE: '/none/hunter2' }, /^JWT_SECRET_FILE cannot be read/)
  refuses(t, { JWT_PUBLIC_KEY: 'hunter2' }, /^JWT_PUBLIC_KEY cannot be used, it holds no PEM and no JWK/)
  const { privateKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  refuses(t, { JWT_PUBLIC_KEY: pem }, /^JWT_PUBLIC_KEY cannot be used, it holds a private key/)
  refuses(t, { JWT_PUBLIC_KEY: JSON.stringify(privateKey.export({ format: 'jwk' })) }, /holds a private key/)
  refuses(t, { JWT_PUBLIC_KEY: JSON.stringify({ kty: 'oct', k: 'aHVudGVyMg' }) }, /a secret is no public key/)
  refuses(
    t,
    { JWT_PUBLIC_KEY: '-----BEGIN PUBLIC KEY-----\\nhunter2\\n-----END PUBLIC KEY-----' },
    /cannot be decoded/,
  )
  refuses(t, { JWT_JWKS_URL: 'http://login.example.com/jwks' }, /^JWT_JWKS_URL must start with https/)
  refuses(t, { JWT_JWKS_URL: 'https://me:hunter2@a.example/jwks' }, /user name or password/)
  refuses(t, { JWT_JWKS_URL: 'a' }, /must be a URL such as/)
  refuses(t, { JWT_CLOCK_TOLERANCE_S: '301' }, /^JWT_CLOCK_TOLERANCE_S must be a whole number from 0 to 300/)
  refuses(t, { SERVICE_REQUESTS_PER_MINUTE: '0' }, /^SERVICE_REQUESTS_PER_MINUTE must/)
})
