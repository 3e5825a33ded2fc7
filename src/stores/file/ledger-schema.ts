import {
  emptyValue,
  prepareValues,
  strictColumn,
  type UsageColumn,
  type UsageRow,
} from '../contracts/usage-columns.ts'
import type { Sqlite } from '../sql/sqlite.ts'

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
export const LEDGER_VERSION = '1'

/** The tables of an empty database, and to which store they belong. */
export function createTables(db: Sqlite, storeId: string, columns: readonly UsageColumn[]): void {
  db.exec(tablesOf(columns))
  const insert = db.prepare('INSERT INTO meta (key, value) VALUES (?, ?)')
  insert.run('version', LEDGER_VERSION)
  insert.run('storeId', storeId)
}

/** The columns that a store of an earlier version lacks: its rows have nothing in them. */
export function addColumns(db: Sqlite, columns: readonly UsageColumn[]): void {
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

/** Every statement that writes. */
export function prepareWrites(db: Sqlite, columns: readonly UsageColumn[]) {
  const meta = db.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
  const mark = db.prepare('INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)')
  const rehold = db.prepare('UPDATE holds SET micros = ? WHERE id = ?')
  const unhold = db.prepare('DELETE FROM holds WHERE id = ?')
  const names = columns.map(({ name }) => name)
  const insert = db.prepare(
    `INSERT INTO usage (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
  )
  const valuesOf = prepareValues(columns)
  const usage = (row: UsageRow, chargedMicros: number): void => {
    insert.run(...valuesOf(row, chargedMicros))
  }
  const charge = db.prepare(
    'INSERT INTO accounts VALUES (?, ?) ON CONFLICT DO UPDATE SET charged_micros = charged_micros + excluded.charged_micros',
  )
  return { meta, mark, rehold, unhold, usage, charge }
}

export type Writes = ReturnType<typeof prepareWrites>
