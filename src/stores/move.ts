import { join } from 'node:path'
import type { RedisAddress } from '../config/env/redis-url.ts'
import type { Books, Dump } from './contracts/books.ts'
import { StoreError } from './contracts/store-error.ts'
import { readFileBooks } from './file/books.ts'
import { hasFiles, putInPlace, setAside, writeFiles } from './file/transfer.ts'
import { openStores, readBooks } from './open.ts'
import { openTransfer, type RedisTransfer } from './redis/transfer.ts'
import { removeMarker } from './redis-marker.ts'

export interface MoveOptions {
  dbDir: string
  redis: RedisAddress
  redisPrefix: string
  databaseUrl?: string | undefined
  /** Marks what is left behind. */
  stamp: string
}

/** Moves all tokens and balances between the folder and Redis; the source stays, set aside, once the target is proven. */
export async function moveStores(to: 'redis' | 'files', options: MoveOptions): Promise<Dump> {
  const transfer = await openTransfer(options.redis, options.redisPrefix)
  try {
    await transfer.refuseLive()
    return to === 'redis' ? await toRedis(options, transfer) : await toFiles(options, transfer)
  } finally {
    transfer.close()
  }
}

async function toRedis(options: MoveOptions, transfer: RedisTransfer): Promise<Dump> {
  const { dbDir, stamp } = options
  if (!hasFiles(dbDir)) throw new StoreError('unusable', `"${dbDir}" holds no store: nothing to move`)
  if (await transfer.hasStore())
    throw new StoreError('unusable', 'Redis holds a store already: empty it, or choose another REDIS_PREFIX')
  // Its marker came before the store.
  if (await transfer.isHalfWritten()) removeMarker(dbDir)
  // Locked by a server that runs; what a dead one has left is settled here.
  const source = await openStores({ dbDir })
  try {
    const dump = await readDump(source)
    await transfer.write(dump, stamp)
    prove(await readBooks(options), dump)
    await transfer.open(dbDir)
    await source.close()
    await setAside(dbDir, `moved-${stamp}`)
    return dump
  } finally {
    await source.close()
  }
}

async function toFiles(options: MoveOptions, transfer: RedisTransfer): Promise<Dump> {
  const { dbDir, stamp } = options
  if (!(await transfer.hasStore())) throw new StoreError('unusable', 'Redis holds no store: nothing to move')
  if (hasFiles(dbDir))
    throw new StoreError('unusable', `"${dbDir}" holds a store already: choose another DB_DIR`)
  const folder = join(dbDir, 'move.tmp')
  // The last replica: it settles what dead ones have left, and carries the last usage rows.
  const source = await openStores({ ...options, replicaTimeoutMs: 1 })
  let dump: Dump
  try {
    dump = await readDump(source)
  } finally {
    await source.close()
  }
  if ((await transfer.waitingRows()) > 0)
    throw new StoreError('unusable', 'Usage rows still wait in Redis: start their database first')
  await writeFiles(folder, dump)
  prove(await readFileBooks(folder), dump)
  await putInPlace(folder, dbDir, stamp)
  await transfer.retire(dbDir, stamp)
  return dump
}

const PATIENCE_MS = 10_000

async function readDump({ tokens }: Awaited<ReturnType<typeof openStores>>): Promise<Dump> {
  const accounts = []
  const until = Date.now() + PATIENCE_MS
  for (const token of await tokens.list()) {
    let credits = await tokens.credits(token.id)
    while (credits.heldMicros > 0 && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      credits = await tokens.credits(token.id)
    }
    const { creditedMicros, chargedMicros, heldMicros } = credits
    if (heldMicros > 0)
      throw new StoreError('locked', `Credits of token "${token.id}" are still held: try again`)
    // The file driver's records hold it, those of Redis do not.
    const { creditedMicros: _, ...record } = { creditedMicros: 0, ...token }
    accounts.push({ token: record, creditedMicros, chargedMicros })
  }
  return { masterId: (await tokens.master())?.id, accounts }
}

/** Throws when the target does not hold exactly what the source did. */
function prove({ books, faults }: Books, { accounts }: Dump): void {
  const found = new Map(books.map((book) => [book.tokenId, book]))
  const wrong = accounts.filter(({ token, creditedMicros, chargedMicros }) => {
    const book = found.get(token.id)
    const isRight = book?.creditedMicros === creditedMicros && book.chargedMicros === chargedMicros
    return !isRight || book.heldMicros !== 0 || book.balanceMicros !== creditedMicros - chargedMicros
  })
  if (wrong.length === 0 && faults.length === 0 && books.length === accounts.length) return
  const text = `The copy is not the same (${wrong.length} tokens differ): the source was not touched`
  throw new StoreError('unusable', text)
}
