import { type Dialect, Kysely, type Transaction } from 'kysely'
import type { UsageEntry, UsageSink } from '../contracts/usage-sink.ts'
import { usageValues } from '../contracts/usage-values.ts'

/** The columns in both dialects, named as in the file store's `usage.sqlite`. */
const COLUMNS = {
  request_id: 'text',
  token_id: 'text',
  user: 'text',
  model: 'text',
  provider: 'text',
  model_used: 'text',
  endpoint: 'text',
  status: 'integer',
  input_tokens: 'bigint',
  cached_tokens: 'bigint',
  output_tokens: 'bigint',
  reasoning_tokens: 'bigint',
  seconds: 'double precision',
  characters: 'bigint',
  images: 'bigint',
  estimated: 'integer',
  cost_micros: 'bigint',
  charged_micros: 'bigint',
  latency_ms: 'bigint',
  first_byte_ms: 'bigint',
  attempts: 'bigint',
  time: 'bigint',
} as const

interface Tables {
  usage: Record<keyof typeof COLUMNS, string | number>
  /** Which entries are rows already. */
  usage_keys: { key: string; at: number }
}

/** Long after the last time that an entry could come again. */
const ENTRY_MEMORY_MS = 7 * 86_400_000
const SWEEP_EVERY_MS = 3_600_000

const NAMES = Object.keys(COLUMNS)

const toRow = ({ row, chargedMicros }: UsageEntry): Tables['usage'] => {
  const values = usageValues(row, chargedMicros)
  return Object.fromEntries(NAMES.map((name, index) => [name, values[index]])) as Tables['usage']
}

/** Opens the tables, made when missing; the same queries for SQLite and PostgreSQL. */
export async function openTable(dialect: Dialect): Promise<UsageSink> {
  const db = new Kysely<Tables>({ dialect })
  try {
    await createTables(db)
    await sweep(db)
  } catch (error) {
    await db.destroy()
    throw error
  }
  let sweptAt = Date.now()
  return {
    write: async (entries) => {
      await db.transaction().execute((transaction) => insert(transaction, entries))
      if (Date.now() - sweptAt < SWEEP_EVERY_MS) return
      sweptAt = Date.now()
      await sweep(db)
    },
    close: () => db.destroy(),
  }
}

async function createTables(db: Kysely<Tables>): Promise<void> {
  let usage = db.schema.createTable('usage').ifNotExists()
  for (const [name, type] of Object.entries(COLUMNS))
    usage = usage.addColumn(name, type, (one) => one.notNull())
  await usage.execute()
  await db.schema
    .createIndex('usage_of_token')
    .ifNotExists()
    .on('usage')
    .columns(['token_id', 'time'])
    .execute()
  const keys = db.schema.createTable('usage_keys').ifNotExists()
  await keys
    .addColumn('key', 'text', (one) => one.primaryKey())
    .addColumn('at', 'bigint')
    .execute()
  await db.schema.createIndex('usage_keys_by_age').ifNotExists().on('usage_keys').column('at').execute()
}

const sweep = (db: Kysely<Tables>) =>
  db
    .deleteFrom('usage_keys')
    .where('at', '<', Date.now() - ENTRY_MEMORY_MS)
    .execute()

async function insert(transaction: Transaction<Tables>, entries: readonly UsageEntry[]): Promise<void> {
  const at = Date.now()
  const byKey = new Map(entries.map((entry) => [entry.key, entry]))
  const fresh = await transaction
    .insertInto('usage_keys')
    .values([...byKey.keys()].map((key) => ({ key, at })))
    .onConflict((conflict) => conflict.doNothing())
    .returning('key')
    .execute()
  const rows = fresh.flatMap(({ key }) => byKey.get(key) ?? []).map(toRow)
  if (rows.length > 0) await transaction.insertInto('usage').values(rows).execute()
}
