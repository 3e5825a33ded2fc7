import { chmodSync, closeSync, openSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'

// The one file that names the class: Node 26 calls it Database and keeps the old name only for now.
/** An open SQLite database. */
export type Sqlite = DatabaseSync

const SQLITE_BUSY = 5

/** Opens (or makes) the database at `path`; never waits for another process. */
export function openSqlite(path: string): Sqlite {
  return new DatabaseSync(path, { timeout: 0 })
}

const READ_PATIENCE_MS = 5_000

/** Opens the database at `path` without a right to change it, also beside the process that does. */
export function openSqliteToRead(path: string): Sqlite {
  return new DatabaseSync(path, { readOnly: true, timeout: READ_PATIENCE_MS })
}

/** All pages at once: what is written meanwhile would make it begin anew, were the source not in a transaction. */
const ALL_PAGES = 0x7fff_ffff

/** Copies an open database, page by page, as the connection sees it; whoever writes in it goes on. */
export async function copySqlite(db: Sqlite, path: string): Promise<void> {
  closeSync(openSync(path, 'wx', 0o600))
  chmodSync(path, 0o600)
  await backup(db, path, { rate: ALL_PAGES })
}

/** Throws with the first thing that is wrong in it. */
export function checkSqlite(db: Sqlite): void {
  const verdict = db.prepare('PRAGMA quick_check(1)').get()?.quick_check
  if (verdict !== 'ok') throw new Error(String(verdict))
}

/** Whether another connection holds what was asked for. */
export function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === SQLITE_BUSY
}

export function hasTable(db: Sqlite, name: string): boolean {
  return db.prepare(`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?`).get(name) !== undefined
}

/** Runs work as one transaction: all of it, or nothing and a throw. */
export type Transaction = (work: () => void) => void

export function prepareTransaction(db: Sqlite): Transaction {
  const begin = db.prepare('BEGIN IMMEDIATE')
  const commit = db.prepare('COMMIT')
  return (work) => {
    begin.run()
    try {
      work()
      commit.run()
    } catch (error) {
      // SQLite has rolled back by itself after some errors, and a second ROLLBACK would hide the first cause.
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }
}
