import * as v from 'valibot'

/** Where a plain setting comes from (the first variable that is set wins) and what it must be. */
type Origin = { env: readonly string[]; expects: string }

function origin(env: readonly string[], expects: string): Origin {
  return { env, expects }
}

function bounded(env: readonly string[], minimum: number, maximum: number) {
  return v.pipe(
    v.number(),
    v.integer(),
    v.minValue(minimum),
    v.maxValue(maximum),
    v.metadata(origin(env, `a whole number from ${minimum} to ${maximum}`)),
  )
}
function whole(env: readonly string[], minimum: number, maximum: number, fallback: number) {
  return v.optional(bounded(env, minimum, maximum), fallback)
}

const MIB = 1024 * 1024
const MOST_BYTES = 1024 ** 5
const HOUR_MS = 3_600_000
function milliseconds(env: string, fallback: number) {
  return whole([env], 1, 24 * HOUR_MS, fallback)
}

function oneOf<const T extends readonly string[]>(env: string, words: T) {
  return v.pipe(v.picklist(words), v.metadata(origin([env], `one of ${words.join(', ')}`)))
}
function text(env: string, expects: string, pattern = /^/) {
  return v.pipe(v.string(), v.regex(pattern), v.metadata(origin([env], expects)))
}
/** Nobody replaces `~` and `$HOME` here, and what begins with "#" was a comment. */
const PATH = /^[^~#$][^$]*$/
function folder(env: string, fallback: string) {
  return v.optional(text(env, 'a folder, without "~" and "$"', PATH), fallback)
}

const ADDRESS = 'an address or name to listen on, such as 0.0.0.0'
const SHORT_WORD = 'a short word of letters, digits, dots and dashes'

/** Settings that are one plain value each. */
export const plainSettings = {
  port: whole(['PORT', 'API_GATEWAY_PORT'], 0, 65_535, 8088),
  host: v.optional(text('HOST', ADDRESS, /^[A-Za-z0-9.:_-]+$/), '0.0.0.0'),
  dbDir: folder('DB_DIR', 'src/db'),
  /** Where another server has `dbDir`: work on its files, and take them over when it ends. */
  storeTakeover: v.optional(oneOf('STORE_TAKEOVER', ['off', 'on']), 'off'),
  logDir: folder('LOG_DIR', 'src/logs'),
  logLevel: v.optional(oneOf('LOG_LEVEL', ['fatal', 'error', 'warn', 'info', 'debug', 'trace']), 'info'),
  requestsPerMinute: whole(['RATE_LIMIT_PER_MINUTE'], 1, 1_000_000_000, 60),
  requestsPerDay: v.optional(bounded(['RATE_LIMIT_PER_DAY'], 1, 1_000_000_000)),
  /** Requests without a valid token, per client address and minute. */
  failuresPerMinute: whole(['UNAUTHENTICATED_PER_MINUTE'], 1, 1_000_000, 60),
  /** Whoever has an IPv6 address has all that begin with the same bits. */
  ipv6PrefixBits: whole(['IPV6_PREFIX_BITS'], 48, 128, 64),
  /** Of a person or an address, on a route without a limit of its own. */
  serviceRequestsPerMinute: whole(['SERVICE_REQUESTS_PER_MINUTE'], 1, 1_000_000_000, 600),
  jwtToleranceS: whole(['JWT_CLOCK_TOLERANCE_S'], 0, 300, 30),
  connectTimeoutMs: milliseconds('CONNECT_TIMEOUT_MS', 5_000),
  answerTimeoutMs: milliseconds('ANSWER_TIMEOUT_MS', 600_000),
  firstByteTimeoutMs: milliseconds('FIRST_BYTE_TIMEOUT_MS', 300_000),
  idleTimeoutMs: milliseconds('IDLE_TIMEOUT_MS', 300_000),
  totalTimeoutMs: milliseconds('TOTAL_TIMEOUT_MS', 1_200_000),
  /** How long a stream may be silent before it gets a sign of life. */
  sseHeartbeat: v.optional(
    text(
      'SSE_HEARTBEAT_MS',
      'a whole number of milliseconds from 100 to 99999999, or off',
      /^(?:[1-9]\d{2,7}|off)$/i,
    ),
    '30000',
  ),
  drainTimeoutMs: milliseconds('DRAIN_TIMEOUT_MS', 25_000),
  drainDelayMs: v.optional(bounded(['DRAIN_DELAY_MS'], 0, 60_000)),
  bodyTimeoutMs: milliseconds('BODY_TIMEOUT_MS', 30_000),
  /** Longer than what stands in front keeps an idle connection: load balancers are often told to wait for 120 s. */
  keepAliveMs: milliseconds('KEEP_ALIVE_MS', 130_000),
  /** The longest JSON body, decoded. */
  maxJsonBytes: whole(['MAX_JSON_BYTES'], 1024, 1024 * MIB, 32 * MIB),
  /** The bytes of all bodies that are here at once; undefined: a share of the memory there is. */
  bodyMemoryBytes: v.optional(bounded(['BODY_MEMORY_BYTES'], 32 * MIB, MOST_BYTES)),
  /**
   * The bytes of all uploads that lie in the temporary folder at once; undefined: half of what is free there at the
   * start.
   */
  spoolBytes: v.optional(bounded(['SPOOL_BYTES'], 0, MOST_BYTES)),
  wsIdleTimeoutMs: milliseconds('WS_IDLE_TIMEOUT_MS', 120_000),
  /** The sockets that are open at once; on routes without a token they are counted by client address. */
  wsSocketsPerToken: whole(['WS_SOCKETS_PER_TOKEN'], 1, 1_000_000, 32),
  demo: v.optional(oneOf('DEMO_PROVIDER', ['auto', 'on', 'off']), 'auto'),
  modelsFile: v.optional(text('MODELS_FILE', 'a file, without "~" and "$"', PATH)),
  /** What stands before every key in Redis. */
  redisPrefix: v.optional(text('REDIS_PREFIX', SHORT_WORD, /^[A-Za-z0-9._-]{1,64}$/), 'gateway'),
  /** A replica without a sign of life for so long is dead. */
  replicaTimeoutMs: whole(['REPLICA_TIMEOUT_MS'], 500, 50_000, 30_000),
  /** Usage rows that wait in Redis while their database is down. */
  usageQueueRows: whole(['USAGE_QUEUE_ROWS'], 1, 100_000_000, 100_000),
  /** For so many days each request's usage row is kept; then rows are rolled up by day, and by month after 400 days. */
  usageDays: v.optional(
    text('USAGE_DAYS', 'a whole number from 2 to 99999, or off', /^(?:0|off|[2-9]|[1-9]\d{1,4})$/i),
    '400',
  ),
  /** Answers kept under idempotency keys: of one token, and in all. */
  answerBytesPerToken: whole(['IDEMPOTENCY_BYTES_PER_TOKEN'], 0, MOST_BYTES, 64 * MIB),
  answerBytes: whole(['IDEMPOTENCY_BYTES'], 0, MOST_BYTES, 1024 * MIB),
  /** Idempotency keys of one token within a day. */
  keysPerToken: whole(['IDEMPOTENCY_KEYS_PER_TOKEN'], 1, 100_000_000, 100_000),
  /** What Redis may use before nothing is kept there that could be left out; its own `maxmemory` when that is lower. */
  redisMemoryBytes: v.optional(bounded(['REDIS_MEMORY_BYTES'], MIB, MOST_BYTES)),
}
