import { randomUUID } from 'node:crypto'
import { chmodSync, closeSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { errorText } from '../../errors.ts'
import { StoreError } from '../contracts/store-error.ts'
import {
  emptyValue,
  FIRST_COLUMNS,
  strictColumn,
  USAGE_COLUMNS,
  type UsageColumn,
} from '../contracts/usage-columns.ts'
import { replaceFile } from '../durable-file.ts'
import { sweepTemporary } from '../folder.ts'
import { putSqliteView } from '../sql/readable-view.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { openSqlite, prepareTransaction } from '../sql/sqlite.ts'
import { GUEST_TABLES } from './guest-holds.ts'
import { TOKENS_FILE } from './tokens.ts'

export const LEDGER_FILE = 'usage.sqlite'

const RESTORE = 'restore tokens.json and usage.sqlite together from the latest backup'

function tablesOf(columns: readonly UsageColumn[]): string {
  return `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE holds (
  id INTEGER PRIMARY KEY, token_id TEXT NOT NULL, request_id TEXT NOT NULL, micros INTEGER NOT NULL,
  least_micros INTEGER NOT NULL, row TEXT, at INTEGER NOT NULL
) STRICT;
CREATE TABLE accounts (token_id TEXT PRIMARY KEY, charged_micros INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE usage (${columns.map(strictColumn).join(', ')}) STRICT;
CREATE INDEX usage_of_token ON usage (token_id, time);
`
}

/** Bumped when an older gateway could no longer read the tables. */
const LEDGER_VERSION = '1'

/** The tables of an empty database, and to which store they belong. */
function createTables(db: Sqlite, storeId: string, columns: readonly UsageColumn[]): void {
  db.exec(tablesOf(columns.slice(0, FIRST_COLUMNS)))
  const insert = db.prepare('INSERT INTO meta (key, value) VALUES (?, ?)')
  insert.run('version', LEDGER_VERSION)
  insert.run('storeId', storeId)
}

/** What the first ledgers had not. */
function addTables(db: Sqlite): void {
  db.exec(`CREATE TABLE IF NOT EXISTS shared_charges (
    account_id TEXT NOT NULL, request_id TEXT NOT NULL, micros INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS shared_charges_of_request ON shared_charges (request_id, account_id)`)
  db.exec(`CREATE TABLE IF NOT EXISTS days (
    token_id TEXT PRIMARY KEY, day INTEGER NOT NULL, count INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`)
  db.exec(GUEST_TABLES)
}

/** The columns that a store of an earlier version lacks: its rows have nothing in them. */
function addColumns(db: Sqlite, columns: readonly UsageColumn[]): void {
  const known = new Set(
    db
      .prepare('PRAGMA table_info(usage)')
      .all()
      .map(({ name }) => name),
  )
  for (const column of columns) {
    if (known.has(column.name)) continue
    const empty = emptyValue(column)
    db.exec(`ALTER TABLE usage ADD COLUMN ${strictColumn(column)} DEFAULT ${empty === '' ? "''" : empty}`)
  }
}

/** The open database, and whether its store has been whole before. */
export interface LedgerFile {
  db: Sqlite
  path: string
  storeId: string
  /** False until both files were written once: only then may `tokens.json` be missing. */
  isInitialised: boolean
  /** Of its usage rows. */
  columns: readonly UsageColumn[]
}

/** Opens `usage.sqlite`; `storeId` is what `tokens.json` says, undefined when there is none. */
export function openLedgerFile(
  dbDir: string,
  storeId: string | undefined,
  columns: readonly UsageColumn[] = USAGE_COLUMNS,
): LedgerFile {
  const path = join(dbDir, LEDGER_FILE)
  if (storeId !== undefined && !existsSync(path)) {
    throw new StoreError('damaged', `"${path}" is gone, though tokens.json is there: ${RESTORE}`)
  }
  let db: Sqlite | undefined
  try {
    // The file is made before SQLite makes it, which would let others read it; the -wal and -shm files take over its
    // mode.
    closeSync(openSync(path, 'a', 0o600))
    chmodSync(path, 0o600)
    db = openSqlite(path)
    return readLedgerFile({ db, path, columns }, storeId)
  } catch (cause) {
    if (db?.isOpen) db.close()
    throw ledgerError(path, cause)
  }
}

type Opened = Pick<LedgerFile, 'db' | 'path' | 'columns'>

function readLedgerFile({ db, path, columns }: Opened, storeId: string | undefined): LedgerFile {
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  const isEmpty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
  if (isEmpty && storeId === undefined) {
    prepareTransaction(db)(() => createTables(db, randomUUID(), columns))
    // The ledger must be on the disk before tokens.json is, else a power cut right now would look like a lost ledger.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  }
  const rows = db.prepare('SELECT key, value FROM meta').all()
  const meta = new Map(rows.map(({ key, value }) => [String(key), String(value)]))
  const own = meta.get('storeId')
  if (own === undefined) throw new Error('it names no store')
  if (meta.get('version') !== LEDGER_VERSION) throw new Error(`it is of version ${meta.get('version')}`)
  if (storeId !== undefined && own !== storeId) throw new Error('it belongs to another tokens.json')
  const isInitialised = meta.has('initialised')
  if (isInitialised && storeId === undefined) {
    const tokens = join(path, '..', 'tokens.json')
    throw new StoreError('damaged', `"${tokens}" is gone, though usage.sqlite is there: ${RESTORE}`)
  }
  addColumns(db, columns)
  addTables(db)
  putSqliteView(db, columns)
  return { db, path, storeId: own, isInitialised, columns }
}

// Primary result codes that speak of the disk or the rights, not of what the file holds.
const DISK_CODES: readonly number[] = [3, 8, 10, 13, 14]

/** What is wrong with `usage.sqlite`, and the way out. */
export function ledgerError(path: string, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause
  const isOfDisk =
    cause instanceof Error &&
    (('errcode' in cause && DISK_CODES.includes(Number(cause.errcode) & 0xff)) || 'syscall' in cause)
  const reason = errorText(cause)
  if (isOfDisk) {
    const text = `"${path}" cannot be opened (${reason}): make it writable for this user, on a disk with free space`
    return new StoreError('unusable', text, { cause })
  }
  return new StoreError('damaged', `"${path}" is damaged or foreign (${reason}): ${RESTORE}`, { cause })
}

export const STORE_MARKER = 'store.json'

/** Throws a `StoreError` when a store was here and nothing of it is left: it must not look like a new folder. */
export function refuseVanished(dbDir: string): void {
  const isThere = (name: string): boolean => existsSync(join(dbDir, name))
  if (!isThere(STORE_MARKER) || isThere(TOKENS_FILE) || isThere(LEDGER_FILE)) return
  const text = `${TOKENS_FILE} and ${LEDGER_FILE} are gone from "${dbDir}", though "${STORE_MARKER}" says that they were there: restore both from the latest backup, or remove "${STORE_MARKER}" to begin anew`
  throw new StoreError('damaged', text)
}

/** A store that vanishes is found out from now on. Durable when it resolves. */
export async function markStore(dbDir: string, storeId: string): Promise<void> {
  const path = join(dbDir, STORE_MARKER)
  if (existsSync(path)) return
  await sweepTemporary(dbDir, STORE_MARKER)
  await replaceFile(path, JSON.stringify({ storeId }))
}
