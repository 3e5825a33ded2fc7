import { readFileSync, writeFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { readSettings, usualBodyMemory } from '../../src/config/env/settings.ts'
import { SettingsError } from '../../src/config/mistakes.ts'

type Env = Record<string, string | undefined>

const mistakesOf = (env: Env): readonly string[] => {
  try {
    readSettings(env)
    return []
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes
    throw error
  }
}
/** The value of one setting must be refused, in a text that names the variable. */
const refuses = (t: Test, env: Env, pattern: RegExp) => {
  const mistakes = mistakesOf(env)
  const label = Object.entries(env)
    .map((pair) => pair.join('='))
    .join(' ')
  t.equal(mistakes.length, 1, `${label} is one mistake: ${mistakes.join(' | ')}`)
  t.match(mistakes[0], pattern, label)
}

t.test('without any setting the gateway has every default of its contract', async (t) => {
  const { readKey, jwt, internalKey, ...settings } = readSettings({})
  t.equal(readKey('NOT_SET'), undefined)
  t.equal(jwt(), undefined)
  t.equal(internalKey(), undefined)
  t.same(settings, {
    port: 8088,
    storeTakeover: 'off',
    host: '0.0.0.0',
    dbDir: 'src/db',
    logDir: 'src/logs',
    logLevel: 'info',
    requestsPerMinute: 60,
    failuresPerMinute: 60,
    ipv6PrefixBits: 64,
    connectTimeoutMs: 5000,
    answerTimeoutMs: 600_000,
    firstByteTimeoutMs: 300_000,
    idleTimeoutMs: 300_000,
    sseHeartbeat: '30000',
    totalTimeoutMs: 1_200_000,
    drainDelayMs: 0,
    drainTimeoutMs: 25_000,
    bodyTimeoutMs: 30_000,
    keepAliveMs: 130_000,
    maxJsonBytes: 33_554_432,
    bodyMemoryBytes: usualBodyMemory(),
    wsIdleTimeoutMs: 120_000,
    wsSocketsPerToken: 32,
    demo: 'auto',
    adminFirst: undefined,
    trustedProxies: [],
    corsAllowlist: [],
    forwardHeaders: [],
    redisPrefix: 'gateway',
    replicaTimeoutMs: 30_000,
    usageQueueRows: 100_000,
    usageDays: '400',
    answerBytesPerToken: 64 * 1024 * 1024,
    answerBytes: 1024 * 1024 * 1024,
    keysPerToken: 100_000,
    services: [],
    queryKeyRoutes: [],
    serviceRequestsPerMinute: 600,
    jwtToleranceS: 30,
    proxySecrets: [],
    warnings: [],
    extraCertificates: [],
    providers: [],
  })
})

t.test('.env.example may be copied as it is', async (t) => {
  const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  const example = parseEnv(text)
  const functions = { readKey: 0, jwt: 0, internalKey: 0 }
  t.same({ ...readSettings(example), ...functions }, { ...readSettings({}), ...functions })
})

t.test('a gateway with others beside it serves on for 5 s, however it learns where Redis is', async (t) => {
  const dir = t.testdir({ url: 'redis://redis:6379\n' })
  t.equal(readSettings({ REDIS_URL: 'redis://redis:6379' }).drainDelayMs, 5000)
  t.equal(readSettings({ REDIS_URL_FILE: `${dir}/url` }).drainDelayMs, 5000)
  t.equal(readSettings({ REDIS_URL_FILE: `${dir}/url`, DRAIN_DELAY_MS: '0' }).drainDelayMs, 0)
})

t.test('each setting is read from its variable', async (t) => {
  const table: [Env, string, unknown][] = [
    [{ PORT: '0' }, 'port', 0],
    [{ API_GATEWAY_PORT: ' 9000 ' }, 'port', 9000],
    [{ PORT: '1', API_GATEWAY_PORT: '2' }, 'port', 1],
    [{ PORT: '', API_GATEWAY_PORT: '2' }, 'port', 2],
    [{ HOST: '::1' }, 'host', '::1'],
    [{ LOG_LEVEL: 'WARN' }, 'logLevel', 'warn'],
    [{ DEMO_PROVIDER: 'off' }, 'demo', 'off'],
    [{ RATE_LIMIT_PER_DAY: '5' }, 'requestsPerDay', 5],
    [{ UNAUTHENTICATED_PER_MINUTE: '7' }, 'failuresPerMinute', 7],
    [{ IPV6_PREFIX_BITS: '56' }, 'ipv6PrefixBits', 56],
    [{ MODELS_FILE: 'models.yaml' }, 'modelsFile', 'models.yaml'],
    [{ WS_IDLE_TIMEOUT_MS: '5' }, 'wsIdleTimeoutMs', 5],
    [{ SSE_HEARTBEAT_MS: 'off' }, 'sseHeartbeat', 'off'],
    [{ SSE_HEARTBEAT_MS: '15000' }, 'sseHeartbeat', '15000'],
    [{ USAGE_DAYS: 'OFF' }, 'usageDays', 'OFF'],
    [{ USAGE_DAYS: '30' }, 'usageDays', '30'],
    [{ WS_SOCKETS_PER_TOKEN: '2' }, 'wsSocketsPerToken', 2],
    [{ DB_DIR: '/data', LOG_DIR: ' ' }, 'dbDir', '/data'],
    [{ TRUSTED_PROXIES: '10.0.0.0/8, ::1,fd00::/8,' }, 'trustedProxies', ['10.0.0.0/8', '::1', 'fd00::/8']],
    [
      {
        CORS_ALLOWLIST:
          'HTTPS://App.Example.com:443,http://localhost:3000,https://*.example.app,http://[::1]:80',
      },
      'corsAllowlist',
      ['https://app.example.com', 'http://localhost:3000', 'https://*.example.app', 'http://[::1]'],
    ],
  ]
  for (const [env, field, expected] of table) {
    const settings: Record<string, unknown> = { ...readSettings(env) }
    t.same(settings[field], expected, JSON.stringify(env))
  }
})

t.test('a value that cannot be meant is refused with the variable and a way out', async (t) => {
  for (const port of ['abc', '65536', '80.5', '-1', '1e3', '0x50', '9'.repeat(400)]) {
    refuses(t, { PORT: port }, /^PORT must be a whole number from 0 to 65535/)
  }
  refuses(t, { API_GATEWAY_PORT: 'x' }, /^API_GATEWAY_PORT must/)
  refuses(t, { RATE_LIMIT_PER_MINUTE: '0' }, /from 1 to 1000000/)
  refuses(t, { CONNECT_TIMEOUT_MS: '5s' }, /^CONNECT_TIMEOUT_MS must/)
  refuses(t, { LOG_LEVEL: 'loud' }, /^LOG_LEVEL must be one of fatal, error/)
  refuses(t, { DEMO_PROVIDER: 'yes' }, /auto, on, off/)
  refuses(t, { HOST: 'http://x' }, /^HOST must be an address/)
  refuses(t, { WS_ROUTES: '/ws' }, /^WS_ROUTES entry 1 must be a path and a URL/)
  refuses(t, { WS_ROUTES: '/ws=http://x/y' }, /starts with ws:/)
  refuses(t, { WS_ROUTES: '/ws=ws://me:secret@x/y' }, /without user name/)
  refuses(t, { WS_ROUTES: '/ws=ws://x/y?a=b' }, /ends with its path/)
  refuses(t, { WS_ROUTES: '/v1/realtime=ws://x/y' }, /answers or charges itself/)
  refuses(t, { REDIS_URL: 'localhost:6379' }, /^REDIS_URL is wrong: its form is unknown/)
  refuses(t, { REPLICA_TIMEOUT_MS: '90000' }, /^REPLICA_TIMEOUT_MS must/)
  refuses(t, { DATABASE_URL: 'postgres://a/b' }, /^DATABASE_URL is for several replicas/)
  refuses(t, { DATABASE_URL: 'mysql://a', REDIS_URL: 'redis://a' }, /^DATABASE_URL must begin with postgres/)
  refuses(t, { REDIS_PREFIX: 'a{b}' }, /^REDIS_PREFIX must/)
  for (const hops of ['1', 'true', 'TRUE']) refuses(t, { TRUSTED_PROXIES: hops }, /invent its own/)
  const noBlocks = [
    'traefik',
    '10.0.0/8',
    '10.0.0.0/8/8',
    'fe80::1%eth0',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/x',
  ]
  for (const block of noBlocks)
    refuses(t, { TRUSTED_PROXIES: block }, /must be an IP address or a CIDR block/)
  refuses(t, { TRUSTED_PROXIES: '10.0.0.1,0.0.0.0/0' }, /entry 2 trusts the whole internet/)
})

t.test('CORS_ALLOWLIST lets nobody in by accident', async (t) => {
  const origin = (entry: string) => ({ CORS_ALLOWLIST: entry })
  refuses(t, origin('*'), /every web page/)
  for (const wide of ['https://*.com', 'https://*.co.uk', 'https://*.localhost', 'http://*.0.0.1']) {
    refuses(t, origin(wide), /whole registry/)
  }
  for (const [bad, words] of [
    ['app.example.com', /begins with its scheme: put https:\/\/ before it$/],
    ['https://a.example/', /without a final slash/],
    ['https://a.example/x', /no path/],
    ['null', /"null" is what every sandboxed page/],
    ['https://my-*.com', /whole registry/],
    ['https://a.*.example.com', /"\*" in the first label/],
    ['https://*', /"\*" in the first label/],
    ['https://u:p@a.example', /must be an origin/],
    ['https://*.*.example.com', /one "\*" at most/],
    ['https://a*b*.example.com', /one "\*" at most/],
    ['https://a.example:*', /a port is a number/],
  ] as const)
    refuses(t, origin(bad), words)
  refuses(t, origin('https://a.example:99999'), /port from 1/)
  refuses(t, origin('https://ok.example,https://a.example?x'), /^CORS_ALLOWLIST entry 2 /)
  t.same(mistakesOf(origin('https://*.my-team.vercel.app')), [])
})

t.test('where anybody can have a name, the operator is told who may call', async (t) => {
  const warningsOf = (entry: string) => readSettings({ CORS_ALLOWLIST: entry }).warnings
  const r0 = readSettings({ CORS_ALLOWLIST: 'https://my-app.vercel.app,https://*.vercel.app' })
  t.same(r0.corsAllowlist, ['https://my-app.vercel.app', 'https://*.vercel.app'])
  t.match(r0.warnings, [/^CORS_ALLOWLIST entry 2 lets in the pages of everyone hosted on vercel\.app/])
  for (const host of [
    'netlify.app',
    'pages.dev',
    'github.io',
    'herokuapp.com',
    'web.app',
    'lovable.app',
    'a.run.app',
  ])
    t.match(warningsOf(`https://*.${host}`), [new RegExp(`everyone hosted on ${host}`)])
  t.match(warningsOf('https://my-app-*.vercel.app'), [/a name on vercel\.app that begins with "my-app-"/])
  t.match(warningsOf('https://*-team.vercel.app'), [/that ends with "-team"/])
  t.same(warningsOf('https://app-*.example.com,https://*.my-team.vercel.app'), [])
  const literal = readSettings({ CORS_ALLOWLIST: 'https://<your-vercel-app>.vercel.app,https://a.example' })
  t.same(literal.corsAllowlist, ['https://a.example'])
  t.match(literal.warnings, [/entry 1 is still a placeholder: it lets nobody in/])
})

t.test('an address that would be 404 for every request is mended and told, or told alone', async (t) => {
  const at = (name: string, url: string) => {
    const { providers, warnings } = readSettings({ [`${name}_API_KEY`]: 'sk-1', [`${name}_BASE_URL`]: url })
    const [provider] = providers
    return [`${provider?.origin}${provider?.basePath}`, ...warnings]
  }
  for (const [name, url, read, ...words] of [
    [
      'OPENAI',
      'https://api.openai.com',
      'https://api.openai.com/v1',
      /^OPENAI_BASE_URL has no path: it is read as/,
    ],
    ['OPENAI', 'https://api.openai.com/', 'https://api.openai.com/v1', /has no path/],
    ['OPENAI', 'https://api.groq.com', 'https://api.groq.com/openai/v1', /has no path/],
    ['OPENAI', 'https://a.example/v1/chat/completions', 'https://a.example/v1', /ends with an endpoint/],
    ['OPENAI', 'https://a.example/v1/Chat/Completions/', 'https://a.example/v1', /ends with an endpoint/],
    ['OPENAI', 'https://a.example/x/v1/audio/speech', 'https://a.example/x/v1', /ends with an endpoint/],
    [
      'OPENAI',
      'https://api.openai.com/chat/completions',
      'https://api.openai.com/v1',
      /ends with an endpoint/,
    ],
    [
      'OPENAI',
      'https://a.example/chat/completions',
      'https://a.example',
      /endpoint.*most services are at .*\/v1$/,
    ],
    ['OPENAI', 'https://a.example', 'https://a.example', /^OPENAI_BASE_URL has no path: .*most services/],
    ['OPENROUTER', 'https://openrouter.ai', 'https://openrouter.ai/api/v1', /has no path/],
    [
      'OPENROUTER',
      'https://openrouter.ai/v1',
      'https://openrouter.ai/v1',
      /that is https:\/\/openrouter\.ai\/api\/v1$/,
    ],
    [
      'GEMINI',
      'https://generativelanguage.googleapis.com/v1beta',
      'https://generativelanguage.googleapis.com/v1beta',
      /v1beta\/openai$/,
    ],
    ['DEEPSEEK', 'https://api.deepseek.com', 'https://api.deepseek.com/v1', /has no path/],
    ['DEEPSEEK', 'https://api.deepseek.com/beta', 'https://api.deepseek.com/beta'],
    ['ANTHROPIC', 'https://api.anthropic.com', 'https://api.anthropic.com/v1'],
    ['ANTHROPIC', 'https://proxy.example', 'https://proxy.example/v1'],
    [
      'ANTHROPIC',
      'https://api.anthropic.com/v1/messages',
      'https://api.anthropic.com/v1',
      /ends with an endpoint/,
    ],
    ['OPENAI', 'https://a.example/api/v1', 'https://a.example/api/v1'],
  ] as const) {
    const [found, ...warnings] = at(name, url)
    t.equal(found, read, url)
    t.equal(warnings.length, words.length, `${url}: ${warnings}`)
    t.match(warnings, words)
  }
})

t.test('what Kubernetes says of a service of our name is no setting', async (t) => {
  const service = {
    API_GATEWAY_PORT: 'tcp://10.43.0.5:8088',
    API_GATEWAY_SERVICE_HOST: '10.43.0.5',
    API_GATEWAY_SERVICE_PORT: '8088',
    API_GATEWAY_PORT_8088_TCP: 'tcp://10.43.0.5:8088',
    API_GATEWAY_PORT_8088_TCP_ADDR: '10.43.0.5',
    REDIS_PORT: 'tcp://10.43.0.6:6379',
    REDIS_SERVICE_HOST: '10.43.0.6',
  }
  t.equal(readSettings(service).port, 8088)
  t.equal(readSettings({ ...service, PORT: '9000' }).port, 9000)
  refuses(t, { API_GATEWAY_PORT: 'http://10.43.0.5:8088' }, /^API_GATEWAY_PORT must/)
  refuses(t, { PORT: 'tcp://10.43.0.5:8088' }, /^PORT must/)
})

t.test('a value with the quotes or the comment of its line means what Compose makes of it', async (t) => {
  const settings = readSettings({
    PORT: '9000   # internal',
    ADMIN_FIRST: '"aB3dEfGhIjKlMnOpQr#StUvWx"',
    LOG_LEVEL: "'warn' # it's enough",
    HOST: '""',
  })
  t.match(settings, {
    port: 9000,
    adminFirst: 'aB3dEfGhIjKlMnOpQr#StUvWx',
    logLevel: 'warn',
    host: '0.0.0.0',
  })
  refuses(t, { ADMIN_FIRST: '# 0123456789abcdef0123' }, /no HTTP header can carry/)
})

t.test('a number or word that was meant is said', async (t) => {
  for (const [name, text, words] of [
    ['PORT', '8088/tcp', /: write 8088$/],
    ['PORT', '８０８８', /: write 8088$/],
    ['CONNECT_TIMEOUT_MS', '30s', /: write 30000$/],
    ['IDLE_TIMEOUT_MS', '1.5m', /: write 90000$/],
    ['SSE_HEARTBEAT_MS', '30s', /: write 30000$/],
    ['RATE_LIMIT_PER_MINUTE', '0', /must be a whole number from 1 to \d+$/],
    ['JWT_CLOCK_TOLERANCE_S', ' 301', /must be a whole number from 0 to 300$/],
    ['MAX_JSON_BYTES', '64MB', /: write 67108864$/],
    ['IDEMPOTENCY_BYTES_PER_TOKEN', '1GiB', /: write 1073741824$/],
    ['RATE_LIMIT_PER_MINUTE', '1_000', /: write 1000$/],
    ['RATE_LIMIT_PER_MINUTE', '1,000', /: write 1000$/],
    ['RATE_LIMIT_PER_DAY', '1e3', /: write 1000$/],
    ['RATE_LIMIT_PER_DAY', 'many', /to 1000000000$/],
    ['LOG_LEVEL', 'WARNING', /: write warn$/],
    ['LOG_LEVEL', 'inf', /did you mean "info"/],
    ['DEMO_PROVIDER', 'true', /: write on$/],
    ['DB_DIR', '~/data', /without "~" and "\$"$/],
    ['LOG_DIR', '$HOME/logs', /without "~" and "\$"$/],
    ['MODELS_FILE', '# models.yaml', /without "~"/],
  ] as const)
    refuses(t, { [name]: text }, words)
})

t.test('a URL with a raw password says which character is written how', async (t) => {
  const redis = (rest: string) => ({ REDIS_URL: `redis://${rest}` })
  refuses(t, redis(':p/s@host:6379'), /^REDIS_URL is wrong: in its password write "\/" as %2F;/)
  refuses(t, redis('user:p@s/?@host'), /write "\/" as %2F, "\?" as %3F, "@" as %40/)
  refuses(t, redis(':50%@host'), /write "%" as %25/)
  t.equal(readSettings(redis(':p#s?s@host')).redis?.password, 'p#s?s', 'what is clear is read')
  t.equal(readSettings(redis(':p%2Fs%40@host')).redis?.password, 'p/s@')
  const postgres = (rest: string) => ({ REDIS_URL: 'redis://a', DATABASE_URL: `postgres://${rest}` })
  refuses(t, postgres('u:p#s@host/db'), /^DATABASE_URL is wrong: in its password write "#" as %23$/)
  refuses(t, postgres('u:12/3@host/db'), /write "\/" as %2F$/)
  refuses(t, postgres('u:12?3@host/db'), /write "\?" as %3F$/)
  refuses(t, postgres('u:50%@host/db'), /write "%" as %25$/)
  refuses(t, postgres('u:p@host:port/db'), /must look like postgres:/)
  for (const right of ['u:p%2F@host/db', 'u@host/db?options=a@b', 'u:p@%2Fvar%2Frun/db', 'host/db?user=a@b'])
    t.same(mistakesOf(postgres(right)), [], right)
  refuses(
    t,
    { HTTPS_PROXY: 'http://u:p#s@proxy:3128' },
    /^HTTPS_PROXY must look like .*: in its password write "#" as %23$/,
  )
})

t.test('PASSTHROUGH_PATHS never opens what is paid for', async (t) => {
  const paid = [
    '/v1',
    '/v1/',
    '/v1/chat',
    '/v1/chat/completions',
    '/V1/Embeddings',
    '/v1/audio',
    '/v1/messages',
  ]
  for (const path of [
    ...paid,
    '/v1/models/gpt-4o',
    '/health',
    '/ready',
    '/metrics',
    '/admin/x',
    '/v1/token',
  ]) {
    refuses(t, { PASSTHROUGH_PATHS: path }, /answers or charges itself/)
  }
  for (const path of ['/', 'v1/files', '/a/../v1', '/..', '/v1/*', '/v1/%2e', '/a//b', '/a?b', '=openai']) {
    refuses(t, { PASSTHROUGH_PATHS: path }, /plain path/)
  }
  refuses(t, { PASSTHROUGH_PATHS: '/f=http://a.example' }, /plain HTTP .*end the entry in "!insecure"/)
  refuses(t, { PASSTHROUGH_PATHS: '/f=ftp://a.example' }, /must name a provider or a URL/)
  refuses(t, { PASSTHROUGH_PATHS: '/f=https://me:hunter2@a.example' }, /user name or password$/)
  t.same(mistakesOf({ PASSTHROUGH_PATHS: '/v1/messages/batches=anthropic' }), [])
  // A provider's base URL stands for our "/v1": what follows it is the same endpoint.
  for (const path of `/chat /Chat /chat/completions /completions /messages /responses /audio /images/edits /realtime /models
    /v1/v1 /v1/v1/chat /openai /openai/v1 /anthropic /v1/openai/embeddings`.split(/\s+/)) {
    for (const to of ['=openai', path.startsWith('/v1/') ? '' : '=anthropic'])
      refuses(t, { PASSTHROUGH_PATHS: path + to }, /answers or charges itself/)
    t.same(mistakesOf({ PASSTHROUGH_PATHS: `${path}=https://a.example` }), [], 'a service has no key of ours')
  }
  t.same(mistakesOf({ PASSTHROUGH_PATHS: '/files,/chats=openai,/v1/vector_stores=openai' }), [])
})

t.test('providers exist by their keys, in the order of preference', async (t) => {
  const settings = readSettings({
    XAI_API_KEY: 'xai-1',
    FREE_OPENAI_KEY: 'free-1',
    OPENAI_API_KEY: 'sk-1',
    OPENAI_BASE_URL: 'https://llm.example.net/api/v1/',
    ANTHROPIC_API_KEY: 'sk-ant',
    ANTHROPIC_BASE_URL: 'https://api.anthropic.com',
    MISTRAL_API_KEY: 'm-1',
    GEMINI_BASE_URL: 'nonsense without a key',
  })
  const at = settings.providers.map(({ name, origin, basePath, key }) => [name, origin + basePath, key])
  t.same(at, [
    ['openai', 'https://llm.example.net/api/v1', 'sk-1'],
    ['free_openai', 'https://api.chatanywhere.tech/v1', 'free-1'],
    ['anthropic', 'https://api.anthropic.com/v1', 'sk-ant'],
    ['mistral', 'https://api.mistral.ai/v1', 'm-1'],
    ['xai', 'https://api.x.ai/v1', 'xai-1'],
  ])
  const speaks = (name: string) => settings.providers.find((provider) => provider.name === name)
  t.same(speaks('anthropic')?.dialects, ['anthropic', 'openai'])
  t.equal(speaks('mistral')?.usageOption, false)
  t.equal(speaks('xai')?.usageOption, true)
})

t.test('a provider key never travels over plain HTTP, except to this machine', async (t) => {
  const at = (url: string) => ({ OPENAI_API_KEY: 'sk-1', OPENAI_BASE_URL: url })
  refuses(t, at('http://llm.example.net/v1'), /^OPENAI_BASE_URL must start with https:.*allowInsecure/)
  refuses(t, at('http://127.evil.example/v1'), /plain HTTP/)
  for (const url of ['https://a.example/v1?key=hunter2', 'https://a.example/v1#hunter2']) {
    refuses(t, at(url), /no "\?" and no "#"$/)
  }
  refuses(t, at('https://me:hunter2@a.example/v1'), /user name or password$/)
  refuses(t, at('https://:hunter2@a.example/v1'), /user name or password$/)
  refuses(t, at('api.example.com/v1'), /must be a URL/)
  for (const url of ['http://localhost:1234/v1', 'http://127.0.0.2', 'http://[::1]:9/v1'])
    t.same(mistakesOf(at(url)), [])
})

t.test('ADMIN_FIRST must be a real secret', async (t) => {
  refuses(t, { ADMIN_FIRST: 'short' }, /at least 16 characters.*openssl rand/)
  refuses(t, { ADMIN_FIRST: 'Your_admin_token_here' }, /placeholder/)
  refuses(t, { ADMIN_FIRST: 'CHANGE_me_in_production' }, /placeholder/)
  refuses(t, { ADMIN_FIRST: 'sixteen letters and blanks' }, /no HTTP header can carry/)
  t.equal(readSettings({ ADMIN_FIRST: ' 0123456789abcdef ' }).adminFirst, '0123456789abcdef')
  t.equal(readSettings({ ADMIN_FIRST: '' }).adminFirst, undefined)
})

t.test('any secret may come from a file', async (t) => {
  const dir = t.testdir({ admin: '0123456789abcdef\n', key: ' sk-file \r\n', empty: '\n', folder: {} })
  const settings = readSettings({
    ADMIN_FIRST_FILE: `${dir}/admin`,
    FREE_OPENAI_KEY_FILE: `${dir}/key`,
    X_FILE: `${dir}/key`,
  })
  t.equal(settings.adminFirst, '0123456789abcdef')
  t.equal(settings.providers[0]?.key, 'sk-file')
  t.equal(settings.readKey('X'), 'sk-file')
  writeFileSync(`${dir}/key`, 'sk-rotated')
  t.equal(settings.readKey('X'), 'sk-rotated', 'a key is read when it is asked for')
  refuses(t, { OPENAI_API_KEY_FILE: `${dir}/none` }, /^OPENAI_API_KEY_FILE cannot be read \(ENOENT\)/)
  refuses(t, { OPENAI_API_KEY_FILE: `${dir}/folder` }, /regular file/)
  refuses(t, { OPENAI_API_KEY_FILE: `${dir}/empty` }, /empty file/)
  refuses(t, { XAI_API_KEY: 'a', XAI_API_KEY_FILE: `${dir}/key` }, /both set/)
  t.throws(() => readSettings({ X_FILE: `${dir}/none` }).readKey('X'), SettingsError)
})

t.test('all mistakes are named at once, and no text repeats a secret', async (t) => {
  const planted = 'hunter2'
  const mistakes = mistakesOf({
    PORT: 'abc',
    LOG_LEVEL: 'loud',
    ADMIN_FIRST: planted,
    OPENAI_API_KEY: `${planted} with blanks`,
    GROQ_API_KEY: 'x',
    GROQ_BASE_URL: `https://a:${planted}@b.example`,
    CORS_ALLOWLIST: `https://a:${planted}@b.example`,
    PASSTHROUGH_PATHS: `/f=https://a:${planted}@b.example`,
    TRUSTED_PROXIES: planted,
    REDIS_URL: `redis://:${planted}@x:port`,
    USER_SERVICE_URL: `http://a:${planted}@b`,
    INTERNAL_API_BASE_URL: `http://a/?key=${planted}`,
    INTERNAL_API_KEY: `${planted}-a`,
    JWT_SECRET: `${planted}-b`,
    JWT_PUBLIC_KEY: planted,
    JWT_JWKS_URL: `https://a:${planted}@b.example`,
    QUERY_API_KEYS: `?${planted}`,
  })
  t.equal(mistakes.length, 16)
  t.notMatch(mistakes.join('\n'), planted)
  t.equal(new SettingsError(mistakes).message, mistakes.join('\n'))
})

t.test('whatever the environment holds, reading it ends in settings or in a SettingsError', async () => {
  const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  const names = Object.keys(parseEnv(text)).flatMap((name) => [name, `${name}_FILE`])
  const piece = fc.constantFrom(
    'https://',
    'http://',
    '*',
    '*.',
    ',',
    '=',
    '/',
    '..',
    '[::1]',
    'a.b',
    ':',
    '!insecure',
    '10.0.0.0/8',
    'true',
    '@',
    '?',
    '\0',
    '1e400',
    '-0',
  )
  const value = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(fc.oneof(piece, fc.string())).map((all) => all.join('')),
  )
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), value), (env) => {
      mistakesOf(env)
    }),
    { numRuns: 500 },
  )
})

t.test('bodies may take a quarter of the memory that the container or the machine has', async (t) => {
  const GIB = 1024 ** 3
  t.equal(usualBodyMemory(GIB, 64 * GIB), GIB / 4)
  t.equal(usualBodyMemory(0, 2 * GIB), GIB / 2, 'no limit')
  t.equal(usualBodyMemory(2 ** 64, 2 * GIB), GIB / 2, 'what the first control groups say for no limit')
  t.equal(usualBodyMemory(64 * 1024 * 1024, GIB), 32 * 1024 * 1024)
  t.equal(usualBodyMemory(0, 512 * GIB), 4 * GIB)
})
