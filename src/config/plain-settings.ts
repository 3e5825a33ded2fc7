import { Type } from 'typebox'

/** Where a plain setting comes from (the first variable that is set wins) and what it must be. */
export interface Row {
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
const milliseconds = (env: string, fallback: number) => whole([env], 1, 24 * HOUR_MS, fallback)

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const
const DEMO = ['auto', 'on', 'off'] as const
const folder = (env: string, fallback: string) =>
  Type.String({ env: [env], default: fallback, expects: 'a folder' })

/** Settings that are one plain value each. */
export const plainSettings = {
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
