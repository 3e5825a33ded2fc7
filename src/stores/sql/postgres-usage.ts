import { PostgresDialect } from 'kysely'
import pg from 'pg'
import { USAGE_COLUMNS, type UsageColumn } from '../contracts/usage-columns.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import { openTable } from './usage-table.ts'

/** The tables in PostgreSQL; throws when it does not answer. */
export async function openPostgresUsage(
  connectionString: string,
  columns: readonly UsageColumn[] = USAGE_COLUMNS,
): Promise<UsageLog> {
  const pool = new pg.Pool({
    connectionString,
    max: 2,
    connectionTimeoutMillis: 3_000,
    query_timeout: 10_000,
    application_name: 'llm-api-gateway',
  })
  // A connection that dies while it is idle: the next query opens another.
  pool.on('error', () => undefined)
  return openTable(new PostgresDialect({ pool }), columns)
}
