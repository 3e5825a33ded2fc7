import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../../config/env/redis-url.ts'
import { GatewayError, notFound, storeUnavailable } from '../../errors.ts'
import type { IdempotencyStore, KeyLimits } from '../contracts/idempotency.ts'
import type { LargeAnswers } from '../contracts/large-answers.ts'
import { checkMicros } from '../contracts/micros.ts'
import type { SharedCounts } from '../contracts/shared-counts.ts'
import { StoreError } from '../contracts/store-error.ts'
import { disabled, enabled, refuseRevoked, renewed, revoked, rotated } from '../contracts/token-changes.ts'
import type { Credits, NewToken, Token, TokenStore } from '../contracts/token-store.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import type { Warn } from '../contracts/warn.ts'
import { openFolder } from '../folder.ts'
import { adjust } from './adjust.ts'
import { TokenBook } from './book.ts'
import { openClaims } from './claims.ts'
import { buildClient } from './client.ts'
import { openCounts } from './counts.ts'
import { Drain } from './drain.ts'
import { establish, teach } from './establish.ts'
import { forgetAnswers } from './forget-answers.ts'
import { buildKeys } from './keys.ts'
import { Later } from './later.ts'
import { RedisLink } from './link.ts'
import { renewLog } from './log-renewal.ts'
import { openMemoryWatch, type RedisMemory } from './memory-watch.ts'
import { dropOldAnswers } from './old-answers.ts'
import { openPlaces } from './places.ts'
import { Purse } from './purse.ts'
import { openReplica, type Replica } from './replica.ts'
import { loadScripts } from './scripts.ts'
import { readNumbers, type Tools } from './tools.ts'
import { openUnsettled } from './unsettled.ts'

export interface RedisStoreOptions {
  address: RedisAddress
  /** Before every key: deployments that share a Redis differ in it. */
  prefix: string
  /** The folder for what waits while Redis is away. */
  dbDir: string
  deadAfterMs: number
  deadlineMs: number
  mostRows: number
  /** Undefined for a command, which carries no usage rows. */
  openSink: (() => Promise<UsageLog>) | undefined
  limits: KeyLimits
  /** Where answers go that are too large for Redis; closed with the store. */
  large: LargeAnswers | undefined
  /** What Redis may use; undefined: its own `maxmemory`. */
  memoryBytes: number | undefined
  warn: Warn
}

/** Tokens, balances, holds and limits in Redis, for several replicas. */
export interface RedisStore {
  tokens: TokenStore
  keys: IdempotencyStore
  counts: SharedCounts
  memory(): RedisMemory
}

export async function openRedisStore(options: RedisStoreOptions): Promise<RedisStore> {
  const { address, prefix, dbDir, deadAfterMs, deadlineMs, mostRows, openSink, warn } = options
  await openFolder(dbDir)
  const client = buildClient(address)
  try {
    const keys = buildKeys(prefix)
    const storeId = await establish(client, keys, dbDir)
    const scripts = loadScripts()
    await teach(client, scripts)
    const link = new RedisLink({
      client,
      deadlineMs,
      probe: async (ask) => {
        await replica.beat(ask)
        void renewLog(client, keys).catch(() => undefined)
      },
      onBack: () => replica.back(),
    })
    const tools = { link, scripts, keys, owner: randomBytes(9).toString('base64url'), mostRows }
    const unsettled = openUnsettled(tools, dbDir)
    const purse = new Purse(tools, unsettled)
    const onBeat = watchLost(warn)
    const later = new Later()
    const replica = openReplica({ tools, purse, later, unsettled, dbDir, storeId, deadAfterMs, onBeat, warn })
    await link.start()
    const places = openPlaces(tools, later, deadAfterMs)
    const drain = openSink && new Drain({ tools, openSink, warn })
    const { keys: claims, memory, close: closeRest } = openKeyRoom(tools, later, options)
    const tokens = buildStore({ tools, purse, replica, places, drain, closeRest })
    return { tokens, keys: claims, counts: openCounts(tools), memory: memory.now }
  } catch (cause) {
    client.disconnect()
    if (cause instanceof StoreError) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new StoreError('unreachable', `Redis cannot be used (${reason}): mend it, or REDIS_URL`, { cause })
  }
}

/** Clients' keys, and what keeps their answers from filling Redis. */
function openKeyRoom(tools: Tools, later: Later, { limits, large, memoryBytes, warn }: RedisStoreOptions) {
  const memory = openMemoryWatch({
    tools,
    limitBytes: memoryBytes,
    onShort: () => dropOldAnswers(tools),
    warn,
  })
  const stopForgetting = forgetAnswers(tools)
  const close = async (): Promise<void> => {
    memory.close()
    stopForgetting()
    await large?.close()
  }
  return { keys: openClaims({ tools, later, memory, limits, large }), memory, close }
}

interface Parts {
  tools: Tools
  purse: Purse
  replica: Replica
  places: Pick<TokenStore, 'enter' | 'leave'>
  drain: Drain | undefined
  closeRest(): Promise<void>
}

function buildStore({ tools, purse, replica, places, drain, closeRest }: Parts): TokenStore {
  const book = new TokenBook(tools)
  const credits = (tokenId: string) => readCredits(tools, tokenId)
  return {
    find: (hash) => book.find(hash),
    list: () => book.list(),
    mint: (token) => book.mint(token),
    putMaster: (token) => putMaster(book, token),
    master: () => book.master(),
    ...recordChanges(book),
    adjust: async (adjustment) => {
      const token = await book.byId(adjustment.tokenId)
      if (token !== undefined && adjustment.micros > 0) refuseRevoked(token)
      return (await adjust(tools, adjustment)) ? book.byId(adjustment.tokenId) : undefined
    },
    ...places,
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
    isReady: () => tools.link.isReady(),
    close: async () => {
      await replica.close()
      await drain?.close()
      await closeRest()
      tools.link.close()
    },
  }
}

/** Tells when rows were dropped because the database was away for too long. */
function watchLost(warn: Warn): (rowsLost: number) => void {
  let told: number | undefined
  return (rowsLost) => {
    if (told !== undefined && rowsLost > told)
      warn(
        { lost: rowsLost - told },
        'the oldest usage rows were dropped: the database was away for too long',
      )
    told = rowsLost
  }
}

const recordChanges = (book: TokenBook): Pick<TokenStore, 'revoke' | 'disable' | 'enable' | 'rotate'> => ({
  revoke: (id, at) => book.change(id, (token) => revoked(token, at)),
  disable: (id, at) => book.change(id, (token) => disabled(token, at)),
  enable: (id) => book.change(id, enabled),
  rotate: (rotation) => book.change(rotation.tokenId, (token) => rotated(token, rotation)),
})

async function putMaster(book: TokenBook, token: NewToken): Promise<Token> {
  const master = (await book.master()) ?? (await makeMaster(book, token))
  const after = await book.change(master?.id ?? '', (before) => renewed(before, token))
  if (after === undefined) throw storeUnavailable('The master token cannot be read')
  return after
}

/** Of replicas that start at once one makes the token, the others find it. */
async function makeMaster(book: TokenBook, token: NewToken): Promise<Token | undefined> {
  try {
    return await book.mint(token, 'master')
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'name_taken') return book.master()
    throw error
  }
}

async function readCredits({ link, keys }: Tools, tokenId: string): Promise<Credits | undefined> {
  const fields = ['credited', 'balance', 'held', 'charged']
  const found = await link.read((client) => client.hmget(keys.account(tokenId), ...fields))
  if (typeof found[0] !== 'string') return undefined
  const [creditedMicros = 0, balanceMicros = 0, heldMicros = 0, chargedMicros = 0] = readNumbers(found)
  return { creditedMicros, balanceMicros, heldMicros, chargedMicros }
}
