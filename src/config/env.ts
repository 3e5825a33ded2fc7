import { type Static, type TSchema, Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Provider } from './models.ts'
import { type ListReading, readList, readOrigin, readTrustedProxy } from './network-lists.ts'
import { readPassthrough } from './passthrough.ts'
import { KNOWN_PROVIDERS, type KnownProvider, readBaseUrl } from './providers.ts'
import { type RedisAddress, readRedisUrl } from './redis-url.ts'
import { type Environment, readSecret, readText } from './secrets.ts'
import { readWsRoute } from './ws-routes.ts'

/** Everything the operator got wrong, at once: one line each, with the variable and a way out. */
export class SettingsError extends Error {
  readonly mistakes: readonly string[]

  constructor(mistakes: readonly string[]) {
    super(mistakes.join('\n'))
    this.name = 'SettingsError'
    this.mistakes = mistakes
  }
}

/** Where a plain setting comes from (the first variable that is set wins) and what it must be. */
interface Row {
  env: readonly string[]
  expects: string
  default?: unknown
  type?: string
}

const whole = (env: readonly string[], minimum: number, maximum: number, fallback?: number) =>
  Type.Integer({
    env,
    minimum,
    maximum,
    default: fallback,
    expects: `a whole number from ${minimum} to ${maximum}`,
  })

const HOUR_MS = 3_600_000
/** With Redis there are other gateways: an edge that asks every 2 s has seen in this time that one leaves. */
const REPLICA_DELAY_MS = 5_000
const milliseconds = (env: string, fallback: number) => whole([env], 1, 24 * HOUR_MS, fallback)

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const
const DEMO = ['auto', 'on', 'off'] as const
const folder = (env: string, fallback: string) =>
  Type.String({ env: [env], default: fallback, expects: 'a folder' })

/** Settings that are one plain value each. */
const plain = {
  port: whole(['PORT', 'API_GATEWAY_PORT'], 0, 65_535, 8088),
  host: Type.String({
    env: ['HOST'],
    default: '0.0.0.0',
    pattern: '^[A-Za-z0-9.:_-]+$',
    expects: 'an address or name to listen on, such as 0.0.0.0',
  }),
  dbDir: folder('DB_DIR', 'src/db'),
  logDir: folder('LOG_DIR', 'src/logs'),
  logLevel: Type.Enum(LEVELS, {
    env: ['LOG_LEVEL'],
    default: 'info',
    expects: `one of ${LEVELS.join(', ')}`,
  }),
  requestsPerMinute: whole(['RATE_LIMIT_PER_MINUTE'], 1, 1_000_000_000, 60),
  requestsPerDay: Type.Optional(whole(['RATE_LIMIT_PER_DAY'], 1, 1_000_000_000)),
  /** Requests without a valid token, per client address and minute. */
  failuresPerMinute: whole(['UNAUTHENTICATED_PER_MINUTE'], 1, 1_000_000, 60),
  connectTimeoutMs: milliseconds('CONNECT_TIMEOUT_MS', 5_000),
  firstByteTimeoutMs: milliseconds('FIRST_BYTE_TIMEOUT_MS', 60_000),
  idleTimeoutMs: milliseconds('IDLE_TIMEOUT_MS', 60_000),
  totalTimeoutMs: milliseconds('TOTAL_TIMEOUT_MS', 900_000),
  drainTimeoutMs: milliseconds('DRAIN_TIMEOUT_MS', 25_000),
  drainDelayMs: Type.Optional(whole(['DRAIN_DELAY_MS'], 0, 60_000)),
  bodyTimeoutMs: milliseconds('BODY_TIMEOUT_MS', 30_000),
  wsIdleTimeoutMs: milliseconds('WS_IDLE_TIMEOUT_MS', 120_000),
  /** Open at once; of routes without a token: per client address. */
  wsSocketsPerToken: whole(['WS_SOCKETS_PER_TOKEN'], 1, 1_000_000, 32),
  demo: Type.Enum(DEMO, { env: ['DEMO_PROVIDER'], default: 'auto', expects: `one of ${DEMO.join(', ')}` }),
  modelsFile: Type.Optional(Type.String({ env: ['MODELS_FILE'], expects: 'a file' })),
  /** Before every key in Redis. */
  redisPrefix: Type.String({
    env: ['REDIS_PREFIX'],
    default: 'gateway',
    pattern: '^[A-Za-z0-9._-]{1,64}$',
    expects: 'a short word of letters, digits, dots and dashes',
  }),
  /** Without a sign of life for so long a replica is dead. */
  replicaTimeoutMs: whole(['REPLICA_TIMEOUT_MS'], 500, 50_000, 30_000),
  /** Usage rows that wait in Redis while their database is down. */
  usageQueueRows: whole(['USAGE_QUEUE_ROWS'], 1, 100_000_000, 100_000),
}

const settingsSchema = Type.Object({
  ...plain,
  /** How long to serve on after SIGTERM, until an edge with several gateways has seen this one leave. */
  drainDelayMs: Type.Integer(),
  adminFirst: Type.Optional(Type.String()),
  /** Where tokens, balances and limits are; undefined: in files. */
  redis: Type.Optional(Type.Unsafe<RedisAddress>({})),
  /** Where replicas write usage rows; undefined: `usage.sqlite`. */
  databaseUrl: Type.Optional(Type.String()),
  trustedProxies: Type.Array(Type.String()),
  corsAllowlist: Type.Array(Type.String()),
  passthrough: Type.Array(
    Type.Object({
      prefix: Type.String(),
      provider: Type.Optional(Type.String()),
      url: Type.Optional(Type.String()),
    }),
  ),
  wsRoutes: Type.Array(Type.Object({ prefix: Type.String(), url: Type.String(), isOpen: Type.Boolean() })),
  /** The providers that have a key, in the order of preference. */
  providers: Type.Unsafe<readonly Provider[]>({}),
  /** A secret by its variable's name, from `NAME` or `NAME_FILE`; throws SettingsError when that file fails. */
  readKey: Type.Unsafe<(name: string) => string | undefined>({}),
})

/** What the operator said, checked and with every default filled in. */
export type Settings = Static<typeof settingsSchema>

/** Reads all settings, or throws one SettingsError that names every mistake in them. */
export function readSettings(env: Environment): Settings {
  const mistakes: string[] = []
  const list = <T>(name: string, readEntry: (entry: string) => T | { mistake: string }): T[] =>
    keep(readList(name, readText(env, name), readEntry), mistakes)
  const found = readPlain(env, mistakes)
  const settings = {
    ...found,
    drainDelayMs: found.drainDelayMs ?? (readText(env, 'REDIS_URL') ? REPLICA_DELAY_MS : 0),
    adminFirst: readAdminFirst(env, mistakes),
    ...readShared(env, mistakes),
    trustedProxies: list('TRUSTED_PROXIES', readTrustedProxy),
    corsAllowlist: list('CORS_ALLOWLIST', readOrigin),
    passthrough: list('PASSTHROUGH_PATHS', readPassthrough),
    wsRoutes: list('WS_ROUTES', readWsRoute),
    providers: KNOWN_PROVIDERS.flatMap((known) => readProvider(env, known, mistakes)),
    readKey: (name: string) => readKey(env, name),
  }
  if (mistakes.length === 0 && Value.Check(settingsSchema, settings)) return settings
  throw new SettingsError(mistakes)
}

function readPlain(env: Environment, mistakes: string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  const rows: [string, TSchema][] = Object.entries(plain)
  for (const [field, schema] of rows) {
    const row = schema as TSchema & Row
    const name = row.env.find((variable) => readText(env, variable) !== undefined)
    const value = name ? readValue(row, readText(env, name) ?? '') : row.default
    if (name && !Value.Check(row, value)) mistakes.push(`${name} must be ${row.expects}`)
    if (value !== undefined) found[field] = value
  }
  return found
}

function readValue(row: Row, text: string): unknown {
  if (row.type === 'integer') return /^\d{1,15}$/.test(text) ? Number(text) : text
  return row.type === 'string' ? text : text.toLowerCase()
}

function keep<T>(reading: ListReading<T>, mistakes: string[]): T[] {
  mistakes.push(...reading.mistakes)
  return reading.values
}

function readKey(env: Environment, name: string): string | undefined {
  const { value, mistake } = readSecret(env, name)
  if (mistake) throw new SettingsError([mistake])
  return value
}

function readAdminFirst(env: Environment, mistakes: string[]): string | undefined {
  const { value, mistake } = readSecret(env, 'ADMIN_FIRST')
  if (mistake) mistakes.push(mistake)
  if (value === undefined) return undefined
  const way = 'make one with "openssl rand -hex 32", or leave it empty and one is made for you'
  if (value.length < 16) mistakes.push(`ADMIN_FIRST must have at least 16 characters: ${way}`)
  if (/^((your|change)[_-]|changeme)/i.test(value))
    mistakes.push(`ADMIN_FIRST is still a placeholder: ${way}`)
  return value
}

function readShared(env: Environment, mistakes: string[]): { redis?: RedisAddress; databaseUrl?: string } {
  const redis = readRedisUrl(env, mistakes)
  const { value: databaseUrl, mistake } = readSecret(env, 'DATABASE_URL')
  if (mistake) mistakes.push(mistake)
  if (databaseUrl !== undefined && !/^postgres(ql)?:\/\/./.test(databaseUrl))
    mistakes.push('DATABASE_URL must begin with postgres://')
  if (databaseUrl !== undefined && redis === undefined)
    mistakes.push('DATABASE_URL is for several replicas: set REDIS_URL as well, or remove it')
  return { ...(redis === undefined ? {} : { redis }), ...(databaseUrl === undefined ? {} : { databaseUrl }) }
}

function readProvider(env: Environment, known: KnownProvider, mistakes: string[]): Provider[] {
  const { value: key, mistake } = readSecret(env, known.keyVariable)
  if (mistake) mistakes.push(mistake)
  if (key === undefined) return []
  const url = readBaseUrl(readText(env, known.baseUrlVariable) ?? known.baseUrl, {
    insecure: 'describe it in MODELS_FILE with "allowInsecure: true"',
  })
  if ('mistake' in url) {
    mistakes.push(`${known.baseUrlVariable} ${url.mistake}`)
    return []
  }
  const { name, dialects, usageOption } = known
  return [
    { name, origin: url.origin, basePath: url.basePath || known.pathIfNone, key, dialects, usageOption },
  ]
}
