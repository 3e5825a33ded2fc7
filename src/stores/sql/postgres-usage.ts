import { PostgresDialect } from 'kysely'
import pg from 'pg'
import { USAGE_COLUMNS } from '../contracts/usage-columns.ts'
import type { UsageLog } from '../contracts/usage-log.ts'
import { openRollUp } from '../roll-up.ts'
import { openPostgresRollUp } from './postgres-roll-up.ts'
import { openTable, type UsageOptions } from './usage-table.ts'

/** The tables in PostgreSQL; throws when it does not answer. */
export async function openPostgresUsage(
  connectionString: string,
  { columns = USAGE_COLUMNS, keep }: UsageOptions = {},
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
  return openTable(
    new PostgresDialect({ pool }),
    columns,
    keep && ((times) => openRollUp({ ...keep, table: openPostgresRollUp({ pool, columns, ...times }) })),
  )
}
