import { PostgresDialect } from 'kysely'
import { USAGE_COLUMNS } from '../contracts/usage-columns.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import { openRollUp } from '../roll-up.ts'
import type { Database } from './database.ts'
import { PostgresPool } from './postgres-pool.ts'
import { openPostgresRollUp } from './postgres-roll-up.ts'
import { openTable, type UsageOptions } from './usage-table.ts'

const LIMITS = { connectionTimeoutMillis: 3_000, query_timeout: 10_000 }

/** The tables in PostgreSQL; throws when it does not answer. */
export async function openPostgresUsage(
  database: Database,
  { columns = USAGE_COLUMNS, keep }: UsageOptions = {},
): Promise<UsageLog> {
  const told = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      database.failed(error)
      throw error
    })
  const pool = new PostgresPool(database, LIMITS)
  const table = await told(
    openTable(
      { dialect: new PostgresDialect({ pool }), columns, view: 'postgres' },
      keep && ((times) => openRollUp({ ...keep, table: openPostgresRollUp({ pool, columns, ...times }) })),
    ),
  )
  return { ...table, write: (entries) => told(table.write(entries)) }
}
