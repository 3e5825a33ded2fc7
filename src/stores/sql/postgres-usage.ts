import { PostgresDialect } from 'kysely'
import { USAGE_COLUMNS, type UsageColumn } from '../contracts/usage-columns.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import type { Database } from './database.ts'
import { PostgresPool } from './postgres-pool.ts'
import { openTable } from './usage-table.ts'

const LIMITS = { connectionTimeoutMillis: 3_000, query_timeout: 10_000 }

/** The tables in PostgreSQL; throws when it does not answer. */
export async function openPostgresUsage(
  database: Database,
  columns: readonly UsageColumn[] = USAGE_COLUMNS,
): Promise<UsageLog> {
  const told = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      database.failed(error)
      throw error
    })
  const pool = new PostgresPool(database, LIMITS)
  const table = await told(openTable(new PostgresDialect({ pool }), columns))
  return { ...table, write: (entries) => told(table.write(entries)) }
}
