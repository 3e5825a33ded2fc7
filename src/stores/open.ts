import type { RedisAddress } from '../config/env/redis-url.ts'
import type { Books } from './contracts/books.ts'
import {
  DEFAULT_KEY_LIMITS,
  type IdempotencyStore,
  type KeyLimits,
  type LargeAnswers,
} from './contracts/idempotency.ts'
import type { DayCounts, SharedCounts } from './contracts/places.ts'
import type { Warn } from './contracts/store-error.ts'
import type { TokenStore } from './contracts/token-store.ts'
import type { UsageLog } from './contracts/usage-log.ts'
import type { Folder } from './open-files.ts'
import type { RedisMemory } from './redis/memory-watch.ts'
import { refuseMarked } from './redis-marker.ts'
import type { Database } from './sql/database.ts'

// biome-ignore lint/performance/noBarrelFile: callers know one door; its own file keeps the drivers from a circle.
export { StoreError } from './contracts/store-error.ts'

/** Everything that outlives a request. */
export interface Stores {
  tokens: TokenStore
  idempotency: IdempotencyStore
  /** Limits that all replicas count in together; undefined: this process is the only one. */
  counts: SharedCounts | undefined
  /** Where this process alone keeps what it counts in a day; undefined: elsewhere, or not yet. */
  days(): DayCounts | undefined
  /** The memory of Redis, as it was seen last; undefined: there is none. */
  redisMemory: (() => RedisMemory) | undefined
  /** Other passwords or hosts: connections made with them take the place of those that stand, once they work. */
  renew(access: StoreAccess): void
  /** Of files: what one server hands over to the next; undefined: replicas share the stores anyhow. */
  folder: Folder | undefined
  close(): Promise<void>
}

/** Where stores are and how to get in, which may change while they are open. */
export interface StoreAccess {
  /** Undefined: files. */
  redis?: RedisAddress | undefined
  /** Where usage rows of replicas end up; undefined: `usage.sqlite` in `dbDir`. */
  databaseUrl?: string | undefined
}

export interface StoreSettings extends StoreAccess, Partial<KeyLimits> {
  /** The folder of the file store; with Redis that of what waits to be written. Made when missing. */
  dbDir: string
  redisPrefix?: string
  replicaTimeoutMs?: number
  /** A client is refused after so long without an answer of Redis. */
  redisDeadlineMs?: number
  usageQueueRows?: number
  /** What Redis may use; undefined: its own `maxmemory`. */
  redisMemoryBytes?: number | undefined
  /** Usage rows older than so many days are rolled up by the server; undefined, 0 or `off`: never. */
  usageDays?: string | undefined
  /** A command looks after no dead replicas and carries no usage rows. */
  role?: 'server' | 'command'
  /** Where another server has the folder, its files are worked on through it until it ends, and taken over then. */
  takeOver?: boolean
  warn?: Warn
  /** The same for what went well. */
  tell?: Warn
  /** A store refused our name or password: there may be others by now. */
  onRefused?(): void
}

const PREFIX = 'gateway'
/** Clients are refused soon; a command has time. */
const DEADLINE_MS = 300
const COMMAND_DEADLINE_MS = 10_000
const REPLICA_TIMEOUT_MS = 30_000
// About 700 bytes each.
const USAGE_QUEUE_ROWS = 100_000

/** Opens the stores, or throws a `StoreError` that names the way out. A driver is loaded only when it is used. */
export async function openStores(settings: StoreSettings): Promise<Stores> {
  const { dbDir, redis, takeOver = false, warn = () => undefined } = settings
  if (redis !== undefined) return openShared(settings, redis)
  refuseMarked(dbDir)
  const { openFiles } = await import('./open-files.ts')
  const keep = readKeep(settings)
  const files = await openFiles({ dbDir, limits: readLimits(settings), keep, takeOver, warn })
  return { ...files, renew: () => undefined }
}

async function openShared(settings: StoreSettings, redis: RedisAddress): Promise<Stores> {
  const { redisPrefix = PREFIX, replicaTimeoutMs = REPLICA_TIMEOUT_MS, databaseUrl } = settings
  const isCommand = settings.role === 'command'
  const { warn = () => undefined, onRefused = () => undefined } = settings
  const database = databaseUrl === undefined ? undefined : await openDatabase(databaseUrl, warn, onRefused)
  const { openRedisStore } = await import('./redis/store.ts')
  const { tokens, idempotency, counts, memory, renew } = await openRedisStore({
    address: redis,
    prefix: redisPrefix,
    dbDir: settings.dbDir,
    deadAfterMs: replicaTimeoutMs,
    deadlineMs: settings.redisDeadlineMs ?? (isCommand ? COMMAND_DEADLINE_MS : DEADLINE_MS),
    mostRows: settings.usageQueueRows ?? USAGE_QUEUE_ROWS,
    openSink: isCommand ? undefined : (mayGoOn) => openSink(settings, database, mayGoOn),
    limits: readLimits(settings),
    large: isCommand || !database ? undefined : await openLarge(settings, database),
    memoryBytes: settings.redisMemoryBytes,
    warn,
    onRefused,
  })
  return {
    tokens,
    idempotency,
    counts,
    days: () => undefined,
    redisMemory: memory,
    renew: (access) => {
      if (access.redis) renew(access.redis)
      if (database && access.databaseUrl !== undefined) database.url = access.databaseUrl
    },
    folder: undefined,
    close: () => tokens.close(),
  }
}

function readLimits(settings: StoreSettings): KeyLimits {
  const { answerBytes, answerBytesPerToken, keysPerToken } = { ...DEFAULT_KEY_LIMITS, ...settings }
  return { answerBytes, answerBytesPerToken, keysPerToken }
}

async function openDatabase(url: string, warn: Warn, onRefused: () => void): Promise<Database> {
  const { Database } = await import('./sql/database.ts')
  return new Database(url, warn, onRefused)
}

/** Replicas without a database of their own keep small answers alone. */
async function openLarge(settings: StoreSettings, database: Database): Promise<LargeAnswers> {
  const { openPostgresAnswers } = await import('./sql/postgres-answers.ts')
  return openPostgresAnswers(database, readLimits(settings))
}

async function openSink(
  settings: StoreSettings,
  database: Database | undefined,
  mayGoOn: () => boolean,
): Promise<UsageLog> {
  const rows = readKeep(settings)
  const keep = rows && { ...rows, mayGoOn }
  if (database === undefined)
    return (await import('./sql/sqlite-usage.ts')).openSqliteUsage(settings.dbDir, { keep })
  return (await import('./sql/postgres-usage.ts')).openPostgresUsage(database, { keep })
}

function readKeep({ usageDays = 'off', role, tell = () => undefined, warn = tell }: StoreSettings) {
  const keptDays = /off/i.test(usageDays) ? 0 : Number(usageDays)
  return keptDays === 0 || role === 'command' ? undefined : { keptDays, tell, warn }
}

/** The sums of the stores, without opening them: beside a running server or without one. Throws a `StoreError`. */
export async function readBooks({ dbDir, redis, redisPrefix = PREFIX }: StoreSettings): Promise<Books> {
  if (redis === undefined) {
    refuseMarked(dbDir)
    return (await import('./file/books.ts')).readFileBooks(dbDir)
  }
  return (await import('./redis/books.ts')).readRedisBooks(redis, redisPrefix)
}
