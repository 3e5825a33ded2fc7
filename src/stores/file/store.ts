import { randomBytes } from 'node:crypto'
import { notFound } from '../../errors.ts'
import type { Credits, NewToken, Token, TokenStore } from '../token-store.ts'
import { checkMicros } from './accounts.ts'
import { openFolder } from './folder.ts'
import { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'
import { openLedgerFile } from './ledger-file.ts'
import type { Lock } from './lock.ts'
import { takeLock } from './lock.ts'
import type { TokenRecord } from './token-record.ts'
import type { TokenBook } from './tokens.ts'
import { createTokenBook, readTokenBook } from './tokens.ts'

interface Parts {
  book: TokenBook
  ledger: Ledger
  lock: Lock
}

/** Tokens in `tokens.json`, balances and usage in `usage.sqlite`, and nobody else in the folder. */
export async function openFileStore(dbDir: string): Promise<TokenStore> {
  await openFolder(dbDir)
  const lock = takeLock(dbDir)
  let file: LedgerFile | undefined
  try {
    const found = await readTokenBook(dbDir)
    file = openLedgerFile(dbDir, found?.storeId)
    const book = found ?? (await createTokenBook(dbDir, file.storeId))
    const ledger = new Ledger(file, book.all())
    if (!file.isInitialised) ledger.setInitialised()
    return buildStore({ book, ledger, lock })
  } catch (error) {
    if (file?.db.isOpen) file.db.close()
    lock.release()
    throw error
  }
}

function buildStore({ book, ledger, lock }: Parts): TokenStore {
  const mint = async (token: NewToken, options?: { isMaster: boolean }) => {
    checkMicros('creditedMicros', token.creditedMicros)
    const record = await book.put({ ...token, id: makeId(), createdAt: Date.now() }, options)
    ledger.openAccount(record.id, record.creditedMicros)
    return record
  }
  const findMaster = () => book.byId(book.masterId() ?? '')
  return {
    find: async (hash) => book.byHash(hash),
    list: async () => book.all(),
    mint: (token) => mint(token),
    putMaster: async (token) => {
      const before = findMaster()
      if (before === undefined) return mint(token, { isMaster: true })
      return before.hash === token.hash ? before : book.put(renewed(before, token))
    },
    master: async () => findMaster(),
    revoke: (tokenId, at) => revoke(book, tokenId, at),
    credits: async (tokenId) => creditsOf(ledger, tokenId),
    hold: (ask) => ledger.hold(ask),
    markAnswered: (holdId, leastMicros, row) => ledger.markAnswered(holdId, leastMicros, row),
    settle: (holdId, row) => ledger.settle(holdId, row),
    isReady: () => ledger.isReady(),
    close: async () => {
      await book.close()
      ledger.close()
      lock.release()
    },
  }
}

const makeId = (): string => `tok_${randomBytes(9).toString('base64url')}`

/** A new secret revives a revoked master token; the credits stay what they are. */
function renewed(before: TokenRecord, { hash, prefix }: NewToken): TokenRecord {
  const { revokedAt: _, ...kept } = before
  return { ...kept, hash, prefix }
}

async function revoke(book: TokenBook, tokenId: string, at: number): Promise<Token | undefined> {
  const token = book.byId(tokenId)
  if (token === undefined || token.revokedAt !== undefined) return token
  return book.put({ ...token, revokedAt: at })
}

function creditsOf(ledger: Ledger, tokenId: string): Credits {
  const credits = ledger.credits(tokenId)
  if (credits === undefined) throw notFound(`There is no token with the id "${tokenId}"`)
  return credits
}
