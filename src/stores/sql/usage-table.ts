import { type Dialect, Kysely, sql, type Transaction } from 'kysely'
import type { ClockNotes } from '../contracts/roll-up.ts'
import {
  emptyValue,
  FIRST_COLUMNS,
  logType,
  prepareValues,
  readUsage,
  type UsageColumn,
  type UsageValue,
} from '../contracts/usage-columns.ts'
import { pageOf, type UsageEntry, type UsageLog, type UsageQuestion } from '../contracts/usage-log.ts'
import type { RollUp, RollUpOptions } from '../roll-up.ts'
import { READABLE, readableNames, type ViewWords, viewStatement } from './readable-view.ts'

interface Tables {
  usage: Record<string, UsageValue>
  /** Which entries are rows already. */
  usage_keys: { key: string; at: number }
  usage_meta: { key: string; value: string }
}

/** Which columns there are, and for how long rows are kept as they are. */
export interface UsageOptions {
  columns?: readonly UsageColumn[]
  keep?: Omit<RollUpOptions, 'table'> | undefined
}

interface TableKind {
  dialect: Dialect
  columns: readonly UsageColumn[]
  view: ViewWords
}

/** Begins to roll old rows up; undefined: they stay. */
export type StartRollUp = ((clock: ClockNotes) => RollUp) | undefined

/** Long after the last time that an entry could come again. */
const ENTRY_MEMORY_MS = 7 * 86_400_000
const SWEEP_EVERY_MS = 3_600_000
/** More than come with one write, so that they do not add up, and few enough to hold nobody up. */
const SWEPT_AT_ONCE = 400

/** Opens the tables, made when missing; the same queries for SQLite and PostgreSQL. */
export async function openTable(
  { dialect, columns, view }: TableKind,
  startRollUp: StartRollUp,
): Promise<UsageLog> {
  const db = new Kysely<Tables>({ dialect })
  try {
    await createTables(db, columns)
    await putView(db, columns, view)
  } catch (error) {
    await db.destroy()
    throw error
  }
  let sweptAt = Number.NEGATIVE_INFINITY
  const rollUp = startRollUp?.(keepTime(db))
  return {
    write: async (entries) => {
      await db.transaction().execute((transaction) => insert(transaction, entries, columns))
      if (Date.now() - sweptAt < SWEEP_EVERY_MS) return
      const count = await sweep(db)
      // While there are more the next write goes on.
      if (count < SWEPT_AT_ONCE) sweptAt = Date.now()
    },
    read: async (question) => {
      const stored = await select(db, question, columns)
      return pageOf(
        stored.map((one) => readUsage(columns, one)),
        question,
      )
    },
    close: async () => {
      await rollUp?.close()
      await db.destroy()
    },
  }
}

async function createTables(db: Kysely<Tables>, columns: readonly UsageColumn[]): Promise<void> {
  let usage = db.schema.createTable('usage').ifNotExists()
  for (const column of columns.slice(0, FIRST_COLUMNS))
    usage = usage.addColumn(column.name, logType(column), (one) => one.notNull())
  await usage.execute()
  for (const column of columns) if (!(await isThere(db, column))) await addColumn(db, column)
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
  const meta = db.schema.createTable('usage_meta').ifNotExists()
  await meta
    .addColumn('key', 'text', (one) => one.primaryKey())
    .addColumn('value', 'text', (one) => one.notNull())
    .execute()
  await db.schema.createIndex('usage_keys_by_age').ifNotExists().on('usage_keys').column('at').execute()
}

/** For people's eyes: without a right to make it, or beside another replica that does, rows are written all the same. */
async function putView(db: Kysely<Tables>, columns: readonly UsageColumn[], words: ViewWords): Promise<void> {
  const names = readableNames(columns).map((name) => sql.ref(name))
  const seen = sql`SELECT ${sql.join(names)} FROM ${sql.table(READABLE)} LIMIT 0`.execute(db)
  if (await succeeds(seen)) return
  await succeeds(
    db.transaction().execute(async (transaction) => {
      await sql`DROP VIEW IF EXISTS ${sql.table(READABLE)}`.execute(transaction)
      await sql.raw(viewStatement(columns, words)).execute(transaction)
    }),
  )
}

function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}

/** Asked of the table itself: a database may have tables of that name in other schemas. */
async function isThere(db: Kysely<Tables>, { name }: UsageColumn): Promise<boolean> {
  return succeeds(db.selectFrom('usage').select(name).limit(0).execute())
}

/** A table of an earlier version lacks it: its rows have nothing in it. */
function addColumn(db: Kysely<Tables>, column: UsageColumn): Promise<void> {
  return db.schema
    .alterTable('usage')
    .addColumn(column.name, logType(column), (one) => one.notNull().defaultTo(emptyValue(column)))
    .execute()
}

const CLOCK = 'clockAt'
const DOUBTED = 'clockDoubtedAt'

/** The latest time that is trusted is else that of the last entry. */
function keepTime(db: Kysely<Tables>): ClockNotes {
  const read = async (key: string): Promise<string | undefined> =>
    (await db.selectFrom('usage_meta').select('value').where('key', '=', key).execute())[0]?.value
  const write = async (key: string, time: number): Promise<void> => {
    const value = String(time)
    await db
      .insertInto('usage_meta')
      .values({ key, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute()
  }
  const numberOf = (found: unknown): number | undefined => (found === undefined ? undefined : Number(found))
  return {
    lastTime: async () => {
      const keys = db.selectFrom('usage_keys').select('at').orderBy('at', 'desc').limit(1)
      return numberOf((await read(CLOCK)) ?? (await keys.execute())[0]?.at)
    },
    doubted: async () => numberOf(await read(DOUBTED)),
    trust: async (time) => {
      await write(CLOCK, time)
      await db.deleteFrom('usage_meta').where('key', '=', DOUBTED).execute()
    },
    doubt: (time) => write(DOUBTED, time),
  }
}

/** Forgets some old entries, and says how many. */
async function sweep(db: Kysely<Tables>): Promise<number> {
  const old = db
    .selectFrom('usage_keys')
    .select('key')
    .where('at', '<', Date.now() - ENTRY_MEMORY_MS)
  const some = old.orderBy('at').limit(SWEPT_AT_ONCE)
  const [result] = await db.deleteFrom('usage_keys').where('key', 'in', some).execute()
  return Number(result?.numDeletedRows ?? 0)
}

async function insert(
  transaction: Transaction<Tables>,
  entries: readonly UsageEntry[],
  columns: readonly UsageColumn[],
): Promise<void> {
  const at = Date.now()
  const byKey = new Map(entries.map((entry) => [entry.key, entry]))
  const fresh = await transaction
    .insertInto('usage_keys')
    .values([...byKey.keys()].map((key) => ({ key, at })))
    .onConflict((conflict) => conflict.doNothing())
    .returning('key')
    .execute()
  const rows = fresh.flatMap(({ key }) => byKey.get(key) ?? []).map((entry) => toRow(entry, columns))
  if (rows.length > 0) await transaction.insertInto('usage').values(rows).execute()
}

function toRow({ row, chargedMicros }: UsageEntry, columns: readonly UsageColumn[]): Tables['usage'] {
  const values = prepareValues(columns)(row, chargedMicros)
  return Object.fromEntries(columns.map(({ name }, index) => [name, values[index] ?? 0]))
}

/** One row more than are wanted, to know whether there are more. */
function select(db: Kysely<Tables>, question: UsageQuestion, columns: readonly UsageColumn[]) {
  const { tokenId, fromMs, untilMs, most, after } = question
  let rows = db
    .selectFrom('usage')
    .select(columns.map(({ name }) => name))
    .where('token_id', '=', tokenId)
    .where('time', '>=', after?.at ?? fromMs)
    .where('time', '<', untilMs)
  if (after !== undefined)
    rows = rows.where((is) => is.or([is('time', '>', after.at), is('request_id', '>=', after.requestId)]))
  return rows
    .orderBy('time')
    .orderBy('request_id')
    .orderBy('charged_micros')
    .limit(most + 1)
    .offset(after?.seen ?? 0)
    .execute()
}
