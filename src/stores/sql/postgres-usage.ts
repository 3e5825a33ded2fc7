import { PostgresDialect } from 'kysely'
import pg from 'pg'
import type { UsageSink } from '../contracts/usage-sink.ts'
import { openTable } from './usage-table.ts'

/** The tables in PostgreSQL; throws when it does not answer. */
export async function openPostgresUsage(connectionString: string): Promise<UsageSink> {
  const pool = new pg.Pool({
    connectionString,
    max: 2,
    connectionTimeoutMillis: 3_000,
    query_timeout: 10_000,
    application_name: 'llm-api-gateway',
  })
  // A connection that dies while it is idle: the next query opens another.
  pool.on('error', () => undefined)
  return openTable(new PostgresDialect({ pool }))
}
