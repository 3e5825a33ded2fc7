import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster } from 'ioredis'
import { StoreError } from '../contracts/store-error.ts'
import { markerPath, readMarker, writeMarker } from '../redis-marker.ts'
import type { Client } from './client.ts'
import type { Keys } from './keys.ts'
import { describeRefusal, isRefused } from './refusals.ts'
import type { Scripts } from './scripts.ts'

const START_MS = 10_000
export const OTHER_STORE = 'this Redis no longer holds the store: it is empty or another one'

/** Connects, and finds or makes the store; throws a `StoreError` with the way out. Returns the store's id. */
export async function establish(client: Client, keys: Keys, dbDir: string): Promise<string> {
  await connect(client)
  await refuseEviction(client)
  const [found = null, movedAt = null, moving = null] = await client.hmget(
    keys.meta,
    'storeId',
    'movedAt',
    'moving',
  )
  if (moving !== null)
    throw new StoreError(
      'damaged',
      `A move of files to this Redis did not come to its end (${moving}): run "node scripts/store-move.js --to redis" again, or choose another REDIS_PREFIX`,
    )
  const expected = readMarker(dbDir)
  if (expected !== undefined && found !== expected) throw lost(markerPath(dbDir), found)
  if (found === null && existsSync(join(dbDir, 'tokens.json'))) {
    const text = `Redis holds no store, but "${dbDir}" does: move it with "node scripts/store-move.js --to redis", or give this server another DB_DIR`
    throw new StoreError('damaged', text)
  }
  if (found === null && movedAt !== null)
    throw new StoreError(
      'damaged',
      `This store was moved to files (${movedAt}): start without REDIS_URL, or choose another REDIS_PREFIX`,
    )
  if (found === null) await client.hsetnx(keys.meta, 'storeId', randomUUID())
  const storeId = await client.hget(keys.meta, 'storeId')
  if (storeId === null)
    throw new StoreError('unusable', 'Redis does not keep what is written: look at its settings')
  if (expected === undefined) await writeMarker(dbDir, storeId)
  return storeId
}

function lost(marker: string, found: string | null): StoreError {
  const what = found === null ? 'is empty' : 'holds another store'
  const text = `Redis ${what}, though this server has worked on one before: restore its data (or mend REDIS_URL), or remove "${marker}" to begin anew`
  return new StoreError('damaged', text)
}

/** Connects within a few seconds, or throws a `StoreError`; waiting mends no wrong password. */
export async function connect(client: Client): Promise<void> {
  let last: unknown
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, START_MS)
    const end = (): void => {
      clearTimeout(timer)
      client.off('error', note)
      resolve()
    }
    const note = (error: unknown): void => {
      if (describeRefusal(error)) last = error
      if (isRefused(error)) end()
    }
    client.on('error', note)
    client.once('ready', end)
    // It goes on trying by itself.
    client.connect().catch(note)
  })
  if (client.status !== 'ready') throw refusedAtStart(last)
}

/** Why Redis cannot be used from the start on; what may pass by itself is worth another start. */
export function refusedAtStart(cause: unknown): StoreError {
  const found = describeRefusal(cause) ?? { reason: 'it gives no answer', way: 'start it, or mend REDIS_URL' }
  const kind = found.fault === undefined ? 'unreachable' : 'unusable'
  return new StoreError(kind, `Redis cannot be used: ${found.reason}. Way out: ${found.way}`, { cause })
}

/** Loads all scripts, so that none is sent twice at first, as unknown and then by its text. */
export async function teach(client: Client, scripts: Scripts): Promise<void> {
  const servers = client instanceof Cluster ? client.nodes('master') : [client]
  const texts = Object.values(scripts).map(({ text }) => text)
  await Promise.all(servers.flatMap((server) => texts.map((text) => server.script('LOAD', text))))
}

/** Throws when what answers there may not take the place of this store's Redis; nothing is written to find that out. */
export async function refuseOther(client: Client, { meta }: Keys, storeId: string): Promise<void> {
  if ((await client.hget(meta, 'storeId')) !== storeId) throw new Error(OTHER_STORE)
  await refuseEviction(client)
}

/** A Redis that throws keys away when it is full would throw away balances. */
async function refuseEviction(client: Client): Promise<void> {
  const memory = String(await client.info('memory'))
  const policy = /maxmemory_policy:(\S+)/.exec(memory)?.[1] ?? 'noeviction'
  if (policy === 'noeviction' || /^maxmemory:0\r?$/m.test(memory)) return
  const text = `Redis may evict balances when its memory is full (maxmemory-policy ${policy}): set it to noeviction`
  throw new StoreError('unusable', text)
}

/**
 * Has a Redis that was started anew write its log anew. Killed inside the write of a transaction (MULTI), Redis 7.0 keeps
 * the first half of it: its next start leaves the half out and in the file, where the EXEC of a later transaction ends
 * it, so that the start after that one carries out half of what was never acknowledged. Does nothing for a Cluster,
 * without a log, or where the command is not allowed.
 */
export async function renewLog(client: Client, { meta }: Keys): Promise<void> {
  if (client instanceof Cluster) return
  const [run, known] = [readField(await client.info('server'), 'run_id'), await client.hget(meta, 'redisRun')]
  if (run === undefined || run === known) return
  // A transaction of our own first (two writes: one alone is none to Redis): a file that ends inside one is refused when
  // it is no longer the last.
  await client.multi().hset(meta, 'redisRun', run).hset(meta, 'redisRunAt', Date.now()).exec()
  if (readField(await client.info('persistence'), 'aof_enabled') === '1') await client.bgrewriteaof()
}

function readField(info: string, name: string): string | undefined {
  return new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1]
}
