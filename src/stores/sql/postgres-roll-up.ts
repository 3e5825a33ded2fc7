import { type ClockNotes, keptBy, type RollUpTable, type Span } from '../contracts/roll-up.ts'
import type { UsageColumn } from '../contracts/usage-columns.ts'
import type { PostgresPool } from './postgres-pool.ts'
import { postgresSum, sumStatement } from './roll-up-sql.ts'

export interface PostgresRollUp extends ClockNotes {
  pool: PostgresPool
  columns: readonly UsageColumn[]
}

/** Each slice is one statement, so that it is done or not: two replicas at once make two rows of a period at worst. */
export function openPostgresRollUp({ pool, columns, ...clock }: PostgresRollUp): RollUpTable {
  const { names, values, groups } = sumStatement(columns, postgresSum)
  const due = `FROM usage WHERE token_id = $1 AND time >= $2 AND time < $3
    AND NOT request_id LIKE ANY ($4::text[]) ORDER BY time LIMIT`
  const roll = `WITH slice AS (SELECT ctid ${due} $5 FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM usage WHERE ctid = ANY (ARRAY (SELECT ctid FROM slice)) RETURNING *),
    own AS (DELETE FROM usage WHERE token_id = $1 AND time = $2 AND request_id = $6
      AND EXISTS (SELECT FROM slice) RETURNING *),
    put AS (INSERT INTO usage (${names}) SELECT ${values('$6', '$2')} FROM
      (SELECT * FROM gone UNION ALL SELECT * FROM own) AS all_rows GROUP BY ${groups})
    SELECT count(*) AS count FROM gone`
  return {
    ...clock,
    nextToken: async (after) => {
      const text = 'SELECT token_id FROM usage WHERE token_id > $1 ORDER BY token_id LIMIT 1'
      const [found] = await ask(pool, text, [after])
      return found && String(found.token_id)
    },
    oldest: async (tokenId, span) => {
      const [found] = await ask(pool, `SELECT time ${due} 1`, valuesOf(tokenId, span, span))
      return found && Number(found.time)
    },
    rollUp: async ({ tokenId, span, period, most }) => {
      const parameters = [...valuesOf(tokenId, period, span), most, period.requestId]
      const [found] = await ask(pool, roll, parameters)
      return Number(found?.count)
    },
  }
}

async function ask(pool: PostgresPool, text: string, values: unknown[]): Promise<Record<string, unknown>[]> {
  return (await pool.use((client) => client.query<Record<string, unknown>>(text, values))).rows
}

function valuesOf(tokenId: string, { fromMs, untilMs }: Pick<Span, 'fromMs' | 'untilMs'>, span: Span) {
  return [tokenId, fromMs, untilMs, [...keptBy(span)]]
}
