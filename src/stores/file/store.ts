import { notFound } from '../../errors.ts'
import { type Credits, checkMicros } from '../contracts/accounts.ts'
import { DEFAULT_KEY_LIMITS, type IdempotencyStore, type KeyLimits } from '../contracts/idempotency.ts'
import type { DayCounts } from '../contracts/places.ts'
import type { Warn } from '../contracts/store-error.ts'
import { makeTokenId, renewed } from '../contracts/token-changes.ts'
import type { TokenStore } from '../contracts/token-store.ts'
import type { NewToken } from '../contracts/tokens.ts'
import { openFolder } from '../folder.ts'
import { NotedRows } from '../noted-rows.ts'
import type { RollUp } from '../roll-up.ts'
import { altered, openChanges } from './changes.ts'
import { type Claims, type ClaimsOptions, openClaims } from './claims.ts'
import { type FileSeats, openSeats } from './guests.ts'
import { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'
import { ledgerError, markStore, openLedgerFile, refuseVanished } from './ledger-file.ts'
import { openDayCounts } from './ledger-writes.ts'
import type { Lock } from './lock.ts'
import { takeLock } from './lock.ts'
import { type KeepRows, openLedgerRollUp } from './old-rows.ts'
import { createPlaces, type KeptPlaces } from './places.ts'
import { prepareServiceRows } from './service-rows.ts'
import { prepareSizes } from './sizes.ts'
import type { TokenRegistry } from './tokens.ts'
import { createTokenRegistry, readTokenRegistry } from './tokens.ts'

interface Parts {
  registry: TokenRegistry
  ledger: Ledger
  sizes: TokenStore['sizes']
  rollUp: RollUp
  lock: Lock
  places: KeptPlaces
  rows: NotedRows
}

/** The contracts as one folder keeps them; closing the tokens closes all. */
export interface FileStore {
  tokens: TokenStore
  idempotency: IdempotencyStore
  seats: FileSeats
  days: DayCounts
}

export interface FileStoreOptions {
  limits?: KeyLimits
  keep?: KeepRows
  warn?: Warn
}

/** Tokens in `tokens.json`, balances and usage in `usage.sqlite`, and nobody else in the folder. */
export async function openFileStore(
  dbDir: string,
  { limits = DEFAULT_KEY_LIMITS, keep, warn = () => undefined }: FileStoreOptions = {},
): Promise<FileStore> {
  await openFolder(dbDir)
  const lock = takeLock(dbDir)
  let file: LedgerFile | undefined
  let ledger: Ledger | undefined
  try {
    refuseVanished(dbDir)
    const found = await readTokenRegistry(dbDir)
    file = openLedgerFile(dbDir, found?.storeId)
    const registry = found ?? (await createTokenRegistry(dbDir, file.storeId))
    ledger = new Ledger(file, registry.all())
    const claims = finishOpening({ dbDir, ledger, limits }, file)
    const days = openDayCounts(file.db, ledger)
    await markStore(dbDir, file.storeId)
    const places = createPlaces()
    const rowWrites = prepareServiceRows(file, ledger)
    const rows = new NotedRows({ sink: rowWrites, warn })
    const sizes = prepareSizes({ dbDir, db: file.db, ledger, tokens: () => registry.size(), rows })
    const rollUp = openLedgerRollUp(file, ledger, keep)
    const tokens = buildStore({ registry, ledger, sizes, rollUp, lock, places, rows })
    const seats = openSeats({ tokens, ledger, claims, places, rows: rowWrites })
    return { tokens, idempotency: claims, days, seats }
  } catch (error) {
    // It would try to write for ever.
    ledger?.close()
    if (file?.db.isOpen) file.db.close()
    lock.release()
    throw error
  }
}

function finishOpening(options: Omit<ClaimsOptions, 'db'>, { db, path, isInitialised }: LedgerFile): Claims {
  try {
    const idempotency = openClaims({ ...options, db })
    if (!isInitialised) options.ledger.setInitialised()
    return idempotency
  } catch (cause) {
    throw ledgerError(path, cause)
  }
}

function buildStore({ registry, ledger, sizes, rollUp, lock, places, rows }: Parts): TokenStore {
  const mint = async (token: NewToken, options?: { isMaster: boolean }) => {
    checkMicros('creditedMicros', token.creditedMicros)
    const record = await registry.put({ ...token, id: makeTokenId(), createdAt: Date.now() }, options)
    ledger.openAccount(record.id, record.creditedMicros)
    return record
  }
  const findMaster = () => registry.byId(registry.masterId() ?? '')
  return {
    find: async (hash) => registry.byHash(hash),
    list: async () => registry.all(),
    lastUsedAt: async (tokenId) => ledger.lastUsedAt(tokenId),
    mint: (token) => mint(token),
    putMaster: async (token) => {
      const before = findMaster()
      if (before === undefined) return mint(token, { isMaster: true })
      const isSame = before.hash === token.hash && before.prefix === token.prefix
      return isSame ? before : registry.put(altered(before, (old) => renewed(old, token)))
    },
    master: async () => findMaster(),
    ...openChanges(registry, ledger),
    enter: places.enter,
    leave: places.leave,
    credits: async (tokenId) => creditsOf(ledger, tokenId),
    hold: (ask) => ledger.hold(ask),
    raise: (holdId, micros, leastMicros) => ledger.raise(holdId, micros, leastMicros),
    markAnswered: (holdId, leastMicros, row) => ledger.markAnswered(holdId, leastMicros, row),
    settle: (holdId, row) => ledger.settle(holdId, row),
    note: (row) => rows.note(row),
    isReady: () => ledger.isReady() && registry.isWhole(),
    sizes,
    close: async () => {
      await rollUp.close()
      await rows.close()
      await registry.close()
      ledger.close()
      lock.release()
    },
  }
}

function creditsOf(ledger: Ledger, tokenId: string): Credits {
  const credits = ledger.credits(tokenId)
  if (credits === undefined) throw notFound(`There is no token with the id "${tokenId}"`)
  return credits
}
