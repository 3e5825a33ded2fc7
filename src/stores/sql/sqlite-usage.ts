import { chmodSync, closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { SqliteDialect } from 'kysely'
import { USAGE_COLUMNS, type UsageColumn } from '../contracts/usage-columns.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import { openSqlite, type Sqlite } from './sqlite.ts'
import { openTable } from './usage-table.ts'

type Value = string | number | null

/** `usage.sqlite` in DB_DIR, through Node's own SQLite. */
export async function openSqliteUsage(
  dbDir: string,
  columns: readonly UsageColumn[] = USAGE_COLUMNS,
): Promise<UsageLog> {
  const path = join(dbDir, 'usage.sqlite')
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  const db = openSqlite(path)
  // Replicas of one machine may share the folder: the one that drains may wait for the one that did.
  db.exec('PRAGMA busy_timeout = 1000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  return openTable(new SqliteDialect({ database: asKyselyWants(db) }), columns)
}

/** Kysely knows better-sqlite3's shape: parameters in a list, and whether a statement answers rows. */
function asKyselyWants(db: Sqlite) {
  return {
    close: () => db.close(),
    prepare: (sql: string) => {
      const statement = db.prepare(sql)
      return {
        reader: statement.columns().length > 0,
        all: (values: readonly unknown[]) => statement.all(...(values as Value[])),
        run: (values: readonly unknown[]) => statement.run(...(values as Value[])),
        iterate: (values: readonly unknown[]) => statement.iterate(...(values as Value[])),
      }
    },
  }
}
