import { randomUUID } from 'node:crypto'
import type { RedisAddress } from '../../config/env/redis-url.ts'
import type { Dump } from '../contracts/books.ts'
import { nameKeyOf } from '../contracts/names.ts'
import { StoreError } from '../contracts/store-error.ts'
import { removeMarker, writeMarker } from '../redis-marker.ts'
import { buildClient, type Client } from './client.ts'
import { connect } from './establish.ts'
import { buildKeys, type Keys } from './keys.ts'
import { hashesOf } from './token-records.ts'

/** A replica that was heard of so lately may still live. */
const QUIET_MS = 60_000

/** The keys of one deployment, for a move. */
export interface RedisTransfer {
  /** Throws a `StoreError` while a replica lives. */
  refuseLive(): Promise<void>
  hasStore(): Promise<boolean>
  /** A move to this Redis has begun and did not come to `open`. */
  isHalfWritten(): Promise<boolean>
  /** Writes the store; every server refuses it until `open`. */
  write(dump: Dump, stamp: string): Promise<void>
  /** Makes this Redis the store, and lets the folder's server know. */
  open(dbDir: string): Promise<void>
  /** The store is elsewhere now: what stands here stays, and no server opens it. */
  retire(dbDir: string, stamp: string): Promise<void>
  /** How many usage rows wait for their database. */
  waitingRows(): Promise<number>
  close(): void
}

export async function openTransfer(address: RedisAddress, prefix: string): Promise<RedisTransfer> {
  const client = buildClient(address)
  try {
    await connect(client)
  } catch (error) {
    client.disconnect()
    throw error
  }
  const keys = buildKeys(prefix)
  return {
    refuseLive: () => refuseLive(client, keys),
    hasStore: async () => (await client.hexists(keys.meta, 'storeId')) === 1,
    isHalfWritten: async () => (await client.hexists(keys.meta, 'moving')) === 1,
    write: async (dump, stamp) => {
      await client.hset(keys.meta, 'moving', stamp)
      await writeAll(client, keys, dump)
    },
    open: async (dbDir) => {
      const storeId = (await client.hget(keys.meta, 'formerId')) ?? randomUUID()
      // First: nobody may go on with the files once Redis is the store.
      await writeMarker(dbDir, storeId)
      await client.multi().hset(keys.meta, 'storeId', storeId).hdel(keys.meta, 'moving').exec()
    },
    retire: async (dbDir, stamp) => {
      const formerId = (await client.hget(keys.meta, 'storeId')) ?? ''
      await client.hset(keys.meta, { movedAt: stamp, formerId })
      await client.hdel(keys.meta, 'storeId')
      removeMarker(dbDir)
    },
    waitingRows: async () => (await client.xlen(keys.usage)) + (await client.xlen(keys.serviceUsage)),
    close: () => client.disconnect(),
  }
}

async function refuseLive(client: Client, keys: Keys): Promise<void> {
  const [seconds = 0] = (await client.eval("return redis.call('TIME')", 1, keys.meta)) as string[]
  const live = await client.zcount(keys.replicas, Number(seconds) * 1000 - QUIET_MS, '+inf')
  if (live === 0) return
  const text = `${live} servers with this Redis were alive less than a minute ago: stop them first`
  throw new StoreError('locked', text)
}

async function writeAll(client: Client, keys: Keys, { masterId, accounts }: Dump): Promise<void> {
  // The same store as before for replicas that remember it.
  await client.hdel(keys.meta, 'movedAt', 'master', 'rowsLost')
  await client.del(keys.tokens, keys.hashes, keys.names, keys.replicas)
  for (const { token, creditedMicros, chargedMicros } of accounts) {
    await client.hset(keys.tokens, token.id, JSON.stringify(token))
    for (const hash of hashesOf(token)) await client.hset(keys.hashes, hash, token.id)
    if (token.name !== '') await client.hset(keys.names, nameKeyOf(token), token.id)
    const sums = { credited: creditedMicros, charged: chargedMicros, rows: chargedMicros, held: 0, holds: 0 }
    await client.del(keys.account(token.id))
    await client.hset(keys.account(token.id), { ...sums, balance: creditedMicros - chargedMicros })
  }
  if (masterId !== undefined) await client.hset(keys.meta, 'master', masterId)
}
