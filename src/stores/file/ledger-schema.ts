import type { Sqlite } from '../sql/sqlite.ts'

const TABLES = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE holds (
  id INTEGER PRIMARY KEY, token_id TEXT NOT NULL, request_id TEXT NOT NULL, micros INTEGER NOT NULL,
  least_micros INTEGER NOT NULL, row TEXT, at INTEGER NOT NULL
) STRICT;
CREATE TABLE accounts (token_id TEXT PRIMARY KEY, charged_micros INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE usage (
  request_id TEXT NOT NULL, token_id TEXT NOT NULL, user TEXT NOT NULL, model TEXT NOT NULL,
  provider TEXT NOT NULL, model_used TEXT NOT NULL, endpoint TEXT NOT NULL, status INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL, seconds REAL NOT NULL, characters INTEGER NOT NULL,
  images INTEGER NOT NULL, estimated INTEGER NOT NULL, cost_micros INTEGER NOT NULL,
  charged_micros INTEGER NOT NULL, latency_ms INTEGER NOT NULL, first_byte_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL, time INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_of_token ON usage (token_id, time);
`

/** Bumped when an older gateway could no longer read the tables. */
export const LEDGER_VERSION = '1'

/** The tables of an empty database, and to which store they belong. */
export function createTables(db: Sqlite, storeId: string): void {
  db.exec(TABLES)
  const insert = db.prepare('INSERT INTO meta (key, value) VALUES (?, ?)')
  insert.run('version', LEDGER_VERSION)
  insert.run('storeId', storeId)
}

/** Every statement that writes. */
export function prepareWrites(db: Sqlite) {
  const meta = db.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
  const mark = db.prepare('INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)')
  const unhold = db.prepare('DELETE FROM holds WHERE id = ?')
  const usage = db.prepare(`INSERT INTO usage VALUES (${Array(22).fill('?').join(', ')})`)
  const charge = db.prepare(
    'INSERT INTO accounts VALUES (?, ?) ON CONFLICT DO UPDATE SET charged_micros = charged_micros + excluded.charged_micros',
  )
  return { meta, mark, unhold, usage, charge }
}

export type Writes = ReturnType<typeof prepareWrites>
