import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../../config/redis-url.ts'
import { notFound, storeUnavailable } from '../../errors.ts'
import { openFolder } from '../file/folder.ts'
import { checkMicros } from '../micros.ts'
import type { SharedCounts } from '../shared-counts.ts'
import { StoreError } from '../store-error.ts'
import type { Credits, NewToken, Token, TokenStore } from '../token-store.ts'
import { TokenBook } from './book.ts'
import { type Books, readNumbers } from './books.ts'
import { buildClient } from './client.ts'
import { openCounts } from './counts.ts'
import { establish } from './establish.ts'
import { buildKeys } from './keys.ts'
import { RedisLink } from './link.ts'
import { Purse } from './purse.ts'
import { openReplica, type Replica } from './replica.ts'
import { loadScripts } from './scripts.ts'
import { openUnsettled } from './unsettled.ts'

export interface RedisStoreOptions {
  address: RedisAddress
  /** Before every key: deployments that share a Redis differ in it. */
  prefix: string
  /** The folder for what waits while Redis is away. */
  dbDir: string
  deadAfterMs: number
}

/** Tokens, balances, holds and limits in Redis, for several replicas. */
export interface RedisStore {
  tokens: TokenStore
  counts: SharedCounts
}

export async function openRedisStore(options: RedisStoreOptions): Promise<RedisStore> {
  const { address, prefix, dbDir, deadAfterMs } = options
  await openFolder(dbDir)
  const client = buildClient(address)
  try {
    const keys = buildKeys(prefix)
    const storeId = await establish(client, keys, dbDir)
    const link = new RedisLink({
      client,
      probe: (ask) => replica.beat(ask),
      onBack: () => replica.back(),
    })
    const books = { link, scripts: loadScripts(), keys, owner: randomBytes(9).toString('base64url') }
    const unsettled = openUnsettled(books, dbDir)
    const purse = new Purse(books, unsettled)
    const onBeat = () => undefined
    const replica = openReplica({ books, purse, unsettled, dbDir, storeId, deadAfterMs, onBeat })
    await link.start()
    return { tokens: buildStore(books, purse, replica), counts: openCounts(books) }
  } catch (cause) {
    client.disconnect()
    if (cause instanceof StoreError) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new StoreError('unreachable', `Redis cannot be used (${reason}): mend it, or REDIS_URL`, { cause })
  }
}

function buildStore(books: Books, purse: Purse, replica: Replica): TokenStore {
  const book = new TokenBook(books)
  const credits = (tokenId: string) => readCredits(books, tokenId)
  return {
    find: (hash) => book.find(hash),
    list: () => book.list(),
    mint: (token) => book.mint(token),
    putMaster: (token) => putMaster(book, token),
    master: () => book.master(),
    revoke: (tokenId, at) =>
      book.change(tokenId, (token) => (token.revokedAt === undefined ? { ...token, revokedAt: at } : token)),
    credits: async (tokenId) => {
      const found = await credits(tokenId)
      if (found === undefined) throw notFound(`There is no token with the id "${tokenId}"`)
      return found
    },
    hold: (ask) => purse.hold(ask),
    markAnswered: (holdId, leastMicros, row) => purse.markAnswered(holdId, leastMicros, row),
    settle: async (holdId, row) => {
      checkMicros('costMicros', row.costMicros)
      const settlement = purse.settle(holdId, row)
      if (settlement !== undefined) return settlement
      return { chargedMicros: 0, balanceMicros: (await credits(row.tokenId))?.balanceMicros ?? 0 }
    },
    isReady: () => books.link.isReady(),
    close: async () => {
      await replica.close()
      books.link.close()
    },
  }
}

/** A new secret revives a revoked master token; the credits stay what they are. */
async function putMaster(book: TokenBook, token: NewToken): Promise<Token> {
  // Of replicas that start at once one makes the token, the others find it.
  const master = (await book.master()) ?? (await book.mint(token, 'master').catch(() => book.master()))
  const after = await book.change(master?.id ?? '', (old) => {
    if (old.hash === token.hash) return old
    const { revokedAt: _, ...kept } = old
    return { ...kept, hash: token.hash, prefix: token.prefix }
  })
  if (after === undefined) throw storeUnavailable('The master token cannot be read')
  return after
}

async function readCredits({ link, keys }: Books, tokenId: string): Promise<Credits | undefined> {
  const found = await link.read((client) =>
    client.hmget(keys.account(tokenId), 'credited', 'charged', 'held'),
  )
  if (typeof found[0] !== 'string') return undefined
  const [creditedMicros = 0, chargedMicros = 0, heldMicros = 0] = readNumbers(found)
  return {
    creditedMicros,
    balanceMicros: creditedMicros - chargedMicros - heldMicros,
    heldMicros,
    chargedMicros,
  }
}
