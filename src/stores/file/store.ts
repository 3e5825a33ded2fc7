import { notFound } from '../../errors.ts'
import { DEFAULT_KEY_LIMITS, type IdempotencyStore, type KeyLimits } from '../contracts/idempotency.ts'
import { checkMicros } from '../contracts/micros.ts'
import { makeTokenId, renewed } from '../contracts/token-changes.ts'
import type { Credits, NewToken, TokenStore } from '../contracts/token-store.ts'
import { openFolder } from '../folder.ts'
import { altered, openChanges } from './changes.ts'
import { type KeysOptions, openKeys } from './keys.ts'
import { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'
import { ledgerError, openLedgerFile } from './ledger-file.ts'
import type { Lock } from './lock.ts'
import { takeLock } from './lock.ts'
import { createPlaces } from './places.ts'
import { markStore, refuseVanished } from './store-marker.ts'
import type { TokenBook } from './tokens.ts'
import { createTokenBook, readTokenBook } from './tokens.ts'

interface Parts {
  book: TokenBook
  ledger: Ledger
  lock: Lock
}

/** The contracts as one folder keeps them; closing the tokens closes all. */
export interface FileStore {
  tokens: TokenStore
  keys: IdempotencyStore
}

/** Tokens in `tokens.json`, balances and usage in `usage.sqlite`, and nobody else in the folder. */
export async function openFileStore(
  dbDir: string,
  limits: KeyLimits = DEFAULT_KEY_LIMITS,
): Promise<FileStore> {
  await openFolder(dbDir)
  const lock = takeLock(dbDir)
  let file: LedgerFile | undefined
  try {
    refuseVanished(dbDir)
    const found = await readTokenBook(dbDir)
    file = openLedgerFile(dbDir, found?.storeId)
    const book = found ?? (await createTokenBook(dbDir, file.storeId))
    const ledger = new Ledger(file, book.all())
    const keys = finishOpening({ dbDir, ledger, limits }, file)
    await markStore(dbDir, file.storeId)
    return { tokens: buildStore({ book, ledger, lock }), keys }
  } catch (error) {
    if (file?.db.isOpen) file.db.close()
    lock.release()
    throw error
  }
}

function finishOpening(
  options: Omit<KeysOptions, 'db'>,
  { db, path, isInitialised }: LedgerFile,
): IdempotencyStore {
  try {
    const keys = openKeys({ ...options, db })
    if (!isInitialised) options.ledger.setInitialised()
    return keys
  } catch (cause) {
    throw ledgerError(path, cause)
  }
}

function buildStore({ book, ledger, lock }: Parts): TokenStore {
  const mint = async (token: NewToken, options?: { isMaster: boolean }) => {
    checkMicros('creditedMicros', token.creditedMicros)
    const record = await book.put({ ...token, id: makeTokenId(), createdAt: Date.now() }, options)
    ledger.openAccount(record.id, record.creditedMicros)
    return record
  }
  const places = createPlaces()
  const findMaster = () => book.byId(book.masterId() ?? '')
  return {
    find: async (hash) => book.byHash(hash),
    list: async () => book.all(),
    mint: (token) => mint(token),
    putMaster: async (token) => {
      const before = findMaster()
      if (before === undefined) return mint(token, { isMaster: true })
      const isSame = before.hash === token.hash && before.prefix === token.prefix
      return isSame ? before : book.put(altered(before, (old) => renewed(old, token)))
    },
    master: async () => findMaster(),
    ...openChanges(book, ledger),
    enter: async (tokenId, most) => places.enter(tokenId, most),
    leave: places.leave,
    credits: async (tokenId) => creditsOf(ledger, tokenId),
    hold: (ask) => ledger.hold(ask),
    markAnswered: (holdId, leastMicros, row) => ledger.markAnswered(holdId, leastMicros, row),
    settle: (holdId, row) => ledger.settle(holdId, row),
    isReady: () => ledger.isReady() && book.isWhole(),
    close: async () => {
      await book.close()
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
