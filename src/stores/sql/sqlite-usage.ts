import { chmodSync, closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { SqliteDialect } from 'kysely'
import { USAGE_COLUMNS } from '../contracts/usage-columns.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import { openRollUp, type RollUp } from '../roll-up.ts'
import { openSqlite, type Sqlite } from './sqlite.ts'
import { openSqliteRollUp } from './sqlite-roll-up.ts'
import { openTable, type UsageOptions } from './usage-table.ts'

type Value = string | number | null

/** `usage.sqlite` in DB_DIR, through Node's own SQLite. */
export async function openSqliteUsage(
  dbDir: string,
  { columns = USAGE_COLUMNS, keep }: UsageOptions = {},
): Promise<UsageLog> {
  const path = join(dbDir, 'usage.sqlite')
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  const db = openSqlite(path)
  // Replicas of one machine may share the folder: the one that drains may wait for the one that did.
  db.exec('PRAGMA busy_timeout = 1000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  return openTable(
    { dialect: new SqliteDialect({ database: asKyselyWants(db) }), columns, view: 'sqlite' },
    keep &&
      ((times) =>
        openRollUpBeside(path, (own) =>
          openRollUp({ ...keep, table: openSqliteRollUp({ db: own, columns, ...times }) }),
        )),
  )
}

/** Through a connection of its own: whatever Kysely has begun on the other one is none of its transactions. */
function openRollUpBeside(path: string, open: (db: Sqlite) => RollUp): RollUp {
  const db = openSqlite(path)
  // A power cut may take the last of it, as a whole: then it is done again.
  db.exec('PRAGMA busy_timeout = 20; PRAGMA synchronous = NORMAL')
  const rollUp = open(db)
  return {
    close: async () => {
      await rollUp.close()
      db.close()
    },
  }
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
