import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Books } from './contracts/books.ts'
import { StoreError } from './contracts/store-error.ts'
import { readFileBooks } from './file/books.ts'
import { LEDGER_FILE, ledgerError, openLedgerFile } from './file/ledger-file.ts'
import { type Lock, takeLock } from './file/lock.ts'
import { copyFolder } from './file/snapshot.ts'
import { readTokenRegistry, TOKENS_FILE } from './file/tokens.ts'
import { markerPath } from './redis-marker.ts'
import { checkSqlite, openSqlite } from './sql/sqlite.ts'

/** The folders of the other replicas lie in the first one's (docker-compose.prod.yml). */
const REPLICA = /^replica-\d+$/

/** Copies what the store's folder keeps, beside its servers; those of further replicas in it likewise. */
export async function copyStore(dbDir: string, target: string): Promise<void> {
  for (const folder of ['.', ...replicasOf(dbDir)])
    await copyFolder(join(dbDir, folder), join(target, folder))
}

/** Proves a copy, which nobody else has open: its databases are whole, and what the sums are. Throws a `StoreError`. */
export async function proveCopy(folder: string): Promise<Books | undefined> {
  for (const inner of ['.', ...replicasOf(folder)]) proveDatabases(join(folder, inner))
  if (!existsSync(join(folder, TOKENS_FILE))) {
    if (existsSync(markerPath(folder))) return undefined
    throw new StoreError('damaged', `"${TOKENS_FILE}" is not in it: a ledger without its tokens`)
  }
  const tokens = await readTokenRegistry(folder)
  // Refuses the ledger of another store.
  openLedgerFile(folder, tokens?.storeId).db.close()
  return readFileBooks(folder)
}

function proveDatabases(folder: string): void {
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.sqlite'))) {
    const path = join(folder, name)
    const db = openSqlite(path)
    try {
      checkSqlite(db)
    } catch (cause) {
      throw ledgerError(path, cause)
    } finally {
      db.close()
    }
  }
}

function replicasOf(folder: string): string[] {
  return readdirSync(folder).filter((name) => REPLICA.test(name))
}

/** Whether there is a store to copy. */
export function hasStore(dbDir: string): boolean {
  return existsSync(join(dbDir, LEDGER_FILE)) || existsSync(join(dbDir, TOKENS_FILE)) || isOfRedis(dbDir)
}

/** The balances of this folder's server are in Redis. */
export function isOfRedis(dbDir: string): boolean {
  return existsSync(markerPath(dbDir))
}

/** The folder for this process alone, or a `StoreError` while a server runs in it. */
export function lockFolder(dbDir: string): Lock {
  return takeLock(dbDir)
}
