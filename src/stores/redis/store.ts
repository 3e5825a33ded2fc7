import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../../config/env/redis-url.ts'
import { GatewayError, notFound, storeUnavailable } from '../../errors.ts'
import { checkMicros } from '../contracts/accounts.ts'
import type { IdempotencyStore, KeyLimits, LargeAnswers } from '../contracts/idempotency.ts'
import type { SharedCounts } from '../contracts/places.ts'
import { StoreError, type Warn } from '../contracts/store-error.ts'
import { disabled, enabled, refuseRevoked, renewed, revoked, rotated } from '../contracts/token-changes.ts'
import type { TokenStore } from '../contracts/token-store.ts'
import type { NewToken, Token } from '../contracts/tokens.ts'
import { openFolder } from '../folder.ts'
import { NotedRows } from '../noted-rows.ts'
import { adjust, Holds, readCredits } from './accounts.ts'
import { openClaims } from './claims.ts'
import { buildClient } from './client.ts'
import type { Context } from './context.ts'
import { establish, refusedAtStart, refuseOther, renewLog, teach } from './establish.ts'
import { buildKeys } from './keys.ts'
import { RedisLink, Retries } from './link.ts'
import { openMemoryWatch, type RedisMemory } from './memory-watch.ts'
import { dropOldAnswers, forgetAnswers } from './old-answers.ts'
import { openCounts, openPlaces } from './places.ts'
import { openReplica, type Replica } from './replica.ts'
import { loadScripts } from './scripts.ts'
import { prepareSizes } from './sizes.ts'
import { TokenRecords } from './token-records.ts'
import { openUnsettled } from './unsettled.ts'
import { type CarrierOptions, openServiceRows, UsageCarrier } from './usage-carrier.ts'

export interface RedisStoreOptions {
  address: RedisAddress
  /** What stands before every key: deployments that share a Redis differ in it. */
  prefix: string
  /** The folder for what waits while Redis is away. */
  dbDir: string
  deadAfterMs: number
  deadlineMs: number
  mostRows: number
  /** Undefined for a command, which carries no usage rows. */
  openSink: CarrierOptions['openSink'] | undefined
  limits: KeyLimits
  /** Where answers go that are too large for Redis; closed with the store. */
  large: LargeAnswers | undefined
  /** What Redis may use; undefined: its own `maxmemory`. */
  memoryBytes: number | undefined
  warn: Warn
  /** Redis refused our user or password: there may be others by now. */
  onRefused(): void
}

/** Tokens, balances, holds and limits in Redis, for several replicas. */
export interface RedisStore {
  tokens: TokenStore
  idempotency: IdempotencyStore
  counts: SharedCounts
  memory(): RedisMemory
  /** A connection to this address takes the place of the one that stands, once it works. */
  renew(address: RedisAddress): void
}

export async function openRedisStore(options: RedisStoreOptions): Promise<RedisStore> {
  const { address, prefix, dbDir, deadAfterMs, deadlineMs, mostRows, openSink, warn, onRefused } = options
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
      probe: async (ask, asked) => {
        await replica.beat(ask)
        void renewLog(asked, keys).catch(() => undefined)
      },
      inspect: (next) => refuseOther(next, keys, storeId),
      onBack: () => replica.back(),
      warn,
      onRefused,
    })
    const context = { link, scripts, keys, owner: randomBytes(9).toString('base64url'), mostRows }
    const unsettled = openUnsettled(context, dbDir)
    const holds = new Holds(context, unsettled)
    const onBeat = watchLost(warn)
    const retries = new Retries()
    const replica = openReplica({
      context,
      holds,
      retries,
      unsettled,
      dbDir,
      storeId,
      deadAfterMs,
      onBeat,
      warn,
    })
    await link.start()
    const places = openPlaces(context, retries, deadAfterMs)
    const carrier = openSink && new UsageCarrier({ context, openSink, warn })
    const { idempotency, memory, close: closeRest } = openKeyRoom(context, retries, options)
    const rows = new NotedRows({ sink: openServiceRows(context), warn })
    const sizes = prepareSizes({ context, holds, unsettled, dbDir, rows })
    const tokens = buildStore({ context, holds, replica, places, carrier, sizes, rows, closeRest })
    const renew = followAddress(address, (next) => link.use(buildClient(next)))
    return { tokens, idempotency, counts: openCounts(context), memory: memory.now, renew }
  } catch (cause) {
    client.disconnect()
    throw cause instanceof StoreError ? cause : refusedAtStart(cause)
  }
}

/** Only another address is news. */
function followAddress(first: RedisAddress, use: (next: RedisAddress) => void): RedisStore['renew'] {
  let known = JSON.stringify(first)
  return (next) => {
    const text = JSON.stringify(next)
    if (text === known) return
    known = text
    use(next)
  }
}

/** Clients' keys, and what keeps their answers from filling Redis. */
function openKeyRoom(
  context: Context,
  retries: Retries,
  { limits, large, memoryBytes, warn }: RedisStoreOptions,
) {
  const memory = openMemoryWatch({
    context,
    limitBytes: memoryBytes,
    onShort: () => dropOldAnswers(context),
    warn,
  })
  const stopForgetting = forgetAnswers(context)
  const close = async (): Promise<void> => {
    memory.close()
    stopForgetting()
    await large?.close()
  }
  return { idempotency: openClaims({ context, retries, memory, limits, large }), memory, close }
}

interface Parts {
  context: Context
  holds: Holds
  replica: Replica
  places: Pick<TokenStore, 'enter' | 'leave'>
  carrier: UsageCarrier | undefined
  sizes: TokenStore['sizes']
  rows: NotedRows
  closeRest(): Promise<void>
}

function buildStore(parts: Parts): TokenStore {
  const { context, holds, replica, places, carrier, sizes, rows, closeRest } = parts
  const records = new TokenRecords(context)
  const credits = (tokenId: string) => readCredits(context, tokenId)
  return {
    find: (hash) => records.find(hash),
    list: () => records.list(),
    // The rows are in the database, which only a carrier has.
    lastUsedAt: async () => undefined,
    mint: (token) => records.mint(token),
    putMaster: (token) => putMaster(records, token),
    master: () => records.master(),
    ...recordChanges(records),
    adjust: async (adjustment) => {
      const { accounts, micros } = adjustment
      for (const id of accounts) {
        const token = await records.byId(id)
        if (token !== undefined && micros > 0) refuseRevoked(token)
      }
      return (await adjust(context, adjustment)) ? records.byId(accounts[0]) : undefined
    },
    ...places,
    credits: async (tokenId) => {
      const found = await credits(tokenId)
      if (found === undefined) throw notFound(`There is no token with the id "${tokenId}"`)
      return found
    },
    hold: (ask) => holds.hold(ask),
    raise: (holdId, micros, leastMicros) => holds.raise(holdId, micros, leastMicros),
    markAnswered: (holdId, leastMicros, row) => holds.markAnswered(holdId, leastMicros, row),
    settle: async (holdId, row) => {
      checkMicros('costMicros', row.costMicros)
      const settlement = holds.settle(holdId, row)
      if (settlement !== undefined) return settlement
      return { chargedMicros: 0, balanceMicros: (await credits(row.tokenId))?.balanceMicros ?? 0 }
    },
    note: (row) => rows.note(row),
    isReady: () => context.link.isReady(),
    sizes,
    close: async () => {
      // Before the carrier, which takes them along.
      await rows.close()
      await replica.close()
      await carrier?.close()
      await closeRest()
      context.link.close()
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

function recordChanges(records: TokenRecords): Pick<TokenStore, 'revoke' | 'disable' | 'enable' | 'rotate'> {
  return {
    revoke: (id, at) => records.change(id, (token) => revoked(token, at)),
    disable: (id, at) => records.change(id, (token) => disabled(token, at)),
    enable: (id) => records.change(id, enabled),
    rotate: (rotation) => records.change(rotation.tokenId, (token) => rotated(token, rotation)),
  }
}

async function putMaster(records: TokenRecords, token: NewToken): Promise<Token> {
  const master = (await records.master()) ?? (await makeMaster(records, token))
  const after = await records.change(master?.id ?? '', (before) => renewed(before, token))
  if (after === undefined) throw storeUnavailable('The master token cannot be read')
  return after
}

/** One of the replicas that start at once makes the token, the others find it. */
async function makeMaster(records: TokenRecords, token: NewToken): Promise<Token | undefined> {
  try {
    return await records.mint(token, 'master')
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'name_taken') return records.master()
    throw error
  }
}
