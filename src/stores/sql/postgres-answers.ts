import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import { codeOf } from '../../errors.ts'
import { KEY_MEMORY_MS, type KeyLimits, type LargeAnswers } from '../contracts/idempotency.ts'
import type { Database } from './database.ts'
import { PostgresPool } from './postgres-pool.ts'

/** A client waits for its answer to be kept: no longer than this, and not at all for a while after it took too long. */
const PATIENCE_MS = 1_500
const PAUSE_MS = 5_000
/** How many may wait in memory. */
const MOST_AT_ONCE = 8
/** How many make room for one; the next one finds the room. */
const MOST_DROPPED = 100
const FORGET_EVERY_MS = 600_000
const FORGOTTEN_AT_ONCE = 500
/** It is as long as a claim outlives its day in Redis. */
const MARGIN_MS = 3_600_000
/** There is one writer at a time, whatever the replica: only then are the sums right. */
const LOCK = `SELECT pg_advisory_xact_lock(hashtext('gateway.idempotency_answers'))`

/** SQLSTATE undefined_table. */
const NO_TABLE = '42P01'

const TABLES = `
CREATE TABLE IF NOT EXISTS idempotency_answers (
  id uuid PRIMARY KEY, token_id text NOT NULL, at bigint NOT NULL, bytes bigint NOT NULL, answer bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS idempotency_answers_of_token ON idempotency_answers (token_id, at);
CREATE INDEX IF NOT EXISTS idempotency_answers_by_age ON idempotency_answers (at);
CREATE TABLE IF NOT EXISTS idempotency_sums (token_id text PRIMARY KEY, bytes bigint NOT NULL);
`
const ADD_TO_SUMS = `INSERT INTO idempotency_sums VALUES ($1, $2), ('', $2)
  ON CONFLICT (token_id) DO UPDATE SET bytes = idempotency_sums.bytes + excluded.bytes`
const READ_SUMS = `SELECT token_id, bytes FROM idempotency_sums WHERE token_id IN ($1, '')`
const LARGEST = `SELECT token_id, bytes FROM idempotency_sums WHERE token_id <> '' ORDER BY bytes DESC LIMIT 1`
const DROP_OLDEST = `DELETE FROM idempotency_answers WHERE id =
  (SELECT id FROM idempotency_answers WHERE token_id = $1 ORDER BY at LIMIT 1) RETURNING bytes`
const READ = 'SELECT answer FROM idempotency_answers WHERE id = $1'
const FORGET = `DELETE FROM idempotency_answers WHERE id IN
  (SELECT id FROM idempotency_answers WHERE at < $1 ORDER BY at LIMIT $2) RETURNING token_id, bytes`
const DROP_EMPTY_SUMS = `DELETE FROM idempotency_sums WHERE bytes <= 0 AND token_id <> ''`

type Limits = Pick<KeyLimits, 'answerBytes' | 'answerBytesPerToken'>

/** Large answers in the database that replicas share; it is opened with the first. */
export function openPostgresAnswers(database: Database, limits: Limits): LargeAnswers {
  const pool = new PostgresPool(database, {
    connectionTimeoutMillis: PATIENCE_MS,
    query_timeout: PATIENCE_MS,
  })
  let [running, restsUntil] = [0, 0]
  let hasTables: Promise<unknown> | undefined
  let madeAt = database.url
  const ready = (): Promise<unknown> => {
    // A database that moved may be a new one.
    if (madeAt !== database.url) hasTables = undefined
    madeAt = database.url
    hasTables ??= transact(pool, (client) => client.query(TABLES))
    const made = hasTables
    made.catch(() => {
      if (hasTables === made) hasTables = undefined
    })
    return made
  }
  const timer = setInterval(() => void forget(pool).catch(() => undefined), FORGET_EVERY_MS).unref()
  return {
    keep: async (tokenId, answer) => {
      if (running >= MOST_AT_ONCE || performance.now() < restsUntil) return undefined
      running += 1
      try {
        await ready()
        return await transact(pool, (client) => keep(client, { tokenId, answer, limits }))
      } catch (error) {
        if (codeOf(error) === NO_TABLE) hasTables = undefined
        restsUntil = performance.now() + PAUSE_MS
        return undefined
      } finally {
        running -= 1
      }
    },
    read: async (id) => {
      const asked = pool.use((client) => client.query(READ, [id]))
      const answer = await asked.then(
        ({ rows }): unknown => rows[0]?.answer,
        (error) => {
          // Where nothing was ever kept nothing can be read later either.
          if (codeOf(error) !== NO_TABLE) throw error
        },
      )
      return Buffer.isBuffer(answer) ? answer : undefined
    },
    close: async () => {
      clearInterval(timer)
      await pool.end()
    },
  }
}

function transact<T>(pool: PostgresPool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  return pool.use(async (client) => {
    await client.query('BEGIN')
    await client.query(LOCK)
    const result = await work(client)
    await client.query('COMMIT')
    return result
  })
}

interface Keeping {
  tokenId: string
  answer: Buffer
  limits: Limits
}

async function keep(client: pg.PoolClient, keeping: Keeping): Promise<string | undefined> {
  const { tokenId, answer } = keeping
  if (!(await makeRoom(client, keeping))) return undefined
  const id = randomUUID()
  const values = [id, tokenId, Date.now(), answer.length, answer]
  await client.query('INSERT INTO idempotency_answers VALUES ($1, $2, $3, $4, $5)', values)
  await client.query(ADD_TO_SUMS, [tokenId, answer.length])
  return id
}

/** The token's oldest go first; where all is full, the oldest of the token that has the most. */
async function makeRoom(client: pg.PoolClient, { tokenId, answer, limits }: Keeping): Promise<boolean> {
  if (answer.length > limits.answerBytesPerToken) return false
  for (let dropped = 0; dropped < MOST_DROPPED; dropped++) {
    const { rows } = await client.query(READ_SUMS, [tokenId])
    const bytesOf = (id: string): number => Number(rows.find((row) => row.token_id === id)?.bytes ?? 0)
    const own = bytesOf(tokenId) + answer.length
    const isOver = own > limits.answerBytesPerToken
    if (!isOver && bytesOf('') + answer.length <= limits.answerBytes) return true
    const most = isOver ? undefined : (await client.query(LARGEST)).rows[0]
    const victim = most === undefined ? tokenId : String(most.token_id)
    // Nobody gives way to one that would have more than it.
    if (victim !== tokenId && Number(most.bytes) < own) return false
    const gone = (await client.query(DROP_OLDEST, [victim])).rows[0]
    if (gone === undefined) return false
    await client.query(ADD_TO_SUMS, [victim, -Number(gone.bytes)])
  }
  return false
}

/** Answers whose keys are forgotten; some at a time. */
async function forget(pool: PostgresPool): Promise<void> {
  const before = Date.now() - KEY_MEMORY_MS - MARGIN_MS
  for (let count = FORGOTTEN_AT_ONCE; count === FORGOTTEN_AT_ONCE; )
    count = await transact(pool, async (client) => {
      const { rows } = await client.query(FORGET, [before, FORGOTTEN_AT_ONCE])
      const sums = new Map<string, number>()
      for (const { token_id: id, bytes } of rows) sums.set(id, (sums.get(id) ?? 0) + Number(bytes))
      for (const [id, bytes] of sums) await client.query(ADD_TO_SUMS, [id, -bytes])
      if (rows.length > 0) await client.query(DROP_EMPTY_SUMS)
      return rows.length
    })
}
