import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import '../support/early-look.ts'
import { type Period, periodOf, planSpans, type RollUpTable } from '../../src/stores/contracts/roll-up.ts'
import { NO_ROW, USAGE_COLUMNS } from '../../src/stores/contracts/usage-columns.ts'
import type { UsageLog } from '../../src/stores/contracts/usage-log.ts'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { openRollUp } from '../../src/stores/roll-up.ts'
import { Database } from '../../src/stores/sql/database.ts'
import { openPostgresUsage } from '../../src/stores/sql/postgres-usage.ts'
import { openSqlite } from '../../src/stores/sql/sqlite.ts'
import { openSqliteRollUp } from '../../src/stores/sql/sqlite-roll-up.ts'
import { openSqliteUsage } from '../../src/stores/sql/sqlite-usage.ts'
import { ask, newToken, usageOf } from '../contract/token-store.ts'
import { waitUntil } from '../support/journey.ts'
import { startPostgres } from '../support/postgres.ts'
import { folder, type Owner } from './folders.ts'

t.setTimeout(120_000)
const DAY_MS = 86_400_000
const NOW = Date.UTC(2026, 10, 28, 11)

t.test('rows beyond the days that are kept go by day, and by month after 400 days', async (t) => {
  const iso = (at: number) => new Date(at).toISOString().slice(0, 10)
  const shown = (keptDays: number) =>
    planSpans(keptDays, NOW).map(({ unit, fromMs, untilMs }) => `${unit} ${iso(fromMs)} ${iso(untilMs)}`)
  t.same(shown(400), ['month 1970-01-01 2025-10-01', 'day 2025-10-01 2025-10-24'])
  t.same(shown(30), ['month 1970-01-01 2025-10-01', 'day 2025-10-01 2026-10-29'])
  t.same(shown(1000), ['month 1970-01-01 2024-03-01', 'day 2024-03-01 2024-03-03'])
  const [months, days] = planSpans(30, NOW)
  const period = ({ requestId, fromMs, untilMs }: Period) => [requestId, iso(fromMs), iso(untilMs)]
  const february = Date.UTC(2024, 1, 29, 23, 59)
  t.same(period(periodOf(months, february)), ['month 2024-02', '2024-02-01', '2024-03-01'])
  t.same(period(periodOf(days, Date.UTC(2026, 0, 31, 12))), ['day 2026-01-31', '2026-01-31', '2026-02-01'])
})

/** All that an operator sums, by what rolled up rows still tell apart. */
const SUMS = `SELECT token_id, model, provider, endpoint, status, sum(requests) AS requests, sum(input_tokens) AS input,
  sum(output_tokens) AS output, sum(cached_tokens) AS cached, sum(charged_micros) AS charged, sum(latency_ms) AS latency
  FROM usage GROUP BY token_id, model, provider, endpoint, status ORDER BY 1, 2, 3, 4, 5`

/** Charges requests that came so many days ago. */
async function charge(dbDir: string, ages: readonly number[]): Promise<string[]> {
  const { tokens: store, close } = await openStores({ dbDir })
  const [one, two] = [await store.mint(newToken(1e9)), await store.mint(newToken(1e9))]
  for (const [index, days] of ages.entries()) {
    const payers = index % 7 === 0 ? ([one.id, two.id] as const) : ([index % 2 ? one.id : two.id] as const)
    const hold = await store.hold(ask([...payers], 100))
    const special = { model: `model-${index % 3}`, cachedTokens: index % 5, at: Date.now() - days * DAY_MS }
    await store.settle(hold?.id ?? 0, { ...usageOf(payers[0], 60 + (index % 10)), ...special })
  }
  await close()
  return [one.id, two.id]
}

function query(dbDir: string, sql: string): Record<string, unknown>[] {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  const rows = db.prepare(sql).all()
  db.close()
  return rows.map((row) => ({ ...row }))
}
/** The last one is of now: the clock is believed. */
const AGES = [...Array.from({ length: 300 }, (_, index) => 1_000 - index * 3.3), 0]

t.test('files: what is rolled up keeps every sum, and balances as they are', async (t) => {
  const dbDir = await folder(t)
  await charge(dbDir, AGES)
  const before = { sums: query(dbDir, SUMS), books: await readBooks({ dbDir }) }
  const told: object[] = []
  const open = () => openStores({ dbDir, usageDays: '30', tell: (fields) => told.push(fields) })
  const stores = await open()
  t.teardown(() => stores.close())
  await waitUntil(
    async () => told.length,
    (count) => count > 0,
  )
  t.match(told, [{ rows: 294, keptDays: 30 }])
  t.same(query(dbDir, SUMS), before.sums)
  t.same(await readBooks({ dbDir }), before.books)
  t.same(query(dbDir, "SELECT count(*) AS n FROM usage WHERE requests = 1 AND request_id NOT LIKE '% 2%'"), [
    { n: 7 },
  ])
  t.ok(Number(query(dbDir, 'SELECT count(*) AS n FROM shared_charges')[0]?.n) < 10)
  const [days] = query(
    dbDir,
    "SELECT count(*) AS n, min(time) AS first FROM usage WHERE request_id LIKE 'day %'",
  )
  t.ok(Number(days?.n) > 50 && Date.now() - Number(days?.first) < 432 * DAY_MS)
  t.match(await stores.tokens.sizes(), { usageRows: 7 })
  const { usageOldestMs = 0 } = await stores.tokens.sizes()
  t.ok(usageOldestMs > 13 * DAY_MS && usageOldestMs < 31 * DAY_MS)
})

t.test('an older release that opens the folder sums the same rows: no credit comes back', async (t) => {
  const dbDir = await folder(t)
  const ids = await charge(dbDir, AGES)
  await rollAll(dbDir, 30)
  // The statements of the first release.
  const sums = query(
    dbDir,
    `SELECT token_id, sum(micros) AS micros FROM (SELECT token_id, charged_micros AS micros FROM usage
      UNION ALL SELECT account_id, micros FROM shared_charges) GROUP BY token_id ORDER BY token_id`,
  )
  const accounts = query(dbDir, 'SELECT token_id, charged_micros AS micros FROM accounts ORDER BY token_id')
  t.same(sums, accounts)
  t.equal(accounts.length, ids.length)
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  const names = USAGE_COLUMNS.slice(0, 22).map(({ name }) => name)
  const values = USAGE_COLUMNS.slice(0, 22).map(({ type }) => (type === 'text' ? 'x' : 1))
  db.prepare(`INSERT INTO usage (${names}) VALUES (${names.map(() => '?')})`).run(...values)
  t.match(db.prepare('SELECT requests FROM usage ORDER BY rowid DESC LIMIT 1').get(), { requests: 1 })
  db.close()
})

/** The ledger's table with nobody else on it. */
function openTable(t: Owner, dbDir: string) {
  const db = openSqlite(join(dbDir, 'usage.sqlite'))
  t.teardown(() => db.isOpen && db.close())
  const nothing = async () => undefined
  const times = { lastTime: nothing, doubted: nothing, trust: nothing, doubt: nothing }
  return { db, table: openSqliteRollUp({ db, columns: USAGE_COLUMNS, ...times }) }
}

async function rollAll(dbDir: string, keptDays: number): Promise<void> {
  let isDone = false
  const stores = await openStores({
    dbDir,
    usageDays: String(keptDays),
    tell: () => {
      isDone = true
    },
  })
  await waitUntil(
    async () => isDone,
    (done) => done,
  )
  await stores.close()
}

t.test('a full disk, and a crash between two slices, leave all sums as they were', async (t) => {
  const dbDir = await folder(t)
  await charge(dbDir, AGES)
  const before = query(dbDir, SUMS)
  const { db, table } = openTable(t, dbDir)
  const [span] = planSpans(30, Date.now())
  const tokenId = (await table.nextToken('')) ?? ''
  const oldest = (await table.oldest(tokenId, span)) ?? 0
  const slice = { tokenId, span, period: periodOf(span, oldest), most: 3 }
  db.exec('PRAGMA max_page_count = 1')
  await t.rejects(table.rollUp(slice), /full/)
  t.same(query(dbDir, SUMS), before)
  db.exec('PRAGMA max_page_count = 1000000')
  t.ok((await table.rollUp(slice)) > 0)
  t.same(query(dbDir, SUMS), before, 'with one slice of many done')
  const copy = await folder(t)
  cpSync(dbDir, copy, { recursive: true })
  t.same(query(copy, SUMS), before)
  t.match(await readBooks({ dbDir: copy }), { faults: [] })
})

/** Those of paid requests. */
const PAID_NAMES = USAGE_COLUMNS.slice(0, 23).map(({ name }) => name)

/** Rows of requests that came so many days ago, and were free; the clock is known to be right. */
function addRows(dbDir: string, count: number, days: number): void {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  const numbers = '1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1'
  const rows = db.prepare(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO usage (${PAID_NAMES}) SELECT 'r' || i, token_id, user, model, provider, model_used, endpoint, 200, ${numbers}, ? + i, 1
      FROM n, (SELECT * FROM usage LIMIT 1)`)
  rows.run(count, Date.now() - days * DAY_MS)
  db.prepare(`INSERT OR REPLACE INTO meta VALUES ('clockAt', ?)`).run(String(Date.now()))
  db.close()
}

t.test('what is free in the file is used again: it grows no more', async (t) => {
  const dbDir = await folder(t)
  await charge(dbDir, [500, 0])
  const fill = (count: number, days: number) => addRows(dbDir, count, days)
  const pages = () => Number(query(dbDir, 'PRAGMA page_count')[0]?.page_count)
  fill(20_000, 100)
  const first = pages()
  await rollAll(dbDir, 30)
  fill(20_000, 60)
  await rollAll(dbDir, 30)
  fill(15_000, 1)
  t.ok(pages() <= first * 1.05, `${pages()} pages after ${first}`)
})

t.test('requests are settled between any two slices', async (t) => {
  const dbDir = await folder(t)
  await charge(dbDir, [500, 0])
  addRows(dbDir, 30_000, 500)
  let rows = 0
  const { tokens: store, close } = await openStores({
    dbDir,
    usageDays: '30',
    tell: (fields) => {
      rows = Number(Object.entries(fields).find(([name]) => name === 'rows')?.[1])
    },
  })
  t.teardown(close)
  const token = await store.mint(newToken(1e9))
  const left = () => Number(query(dbDir, "SELECT count(*) AS n FROM usage WHERE request_id LIKE 'r%'")[0]?.n)
  await waitUntil(
    async () => left(),
    (count) => count < 30_000,
  )
  let settled = 0
  while (rows === 0) {
    const hold = await store.hold(ask(token.id, 10))
    await store.settle(hold?.id ?? 0, { ...usageOf(token.id, 1), requestId: `now-${settled}` })
    settled += 1
    if (settled % 200 === 0) {
      const { books } = await readBooks({ dbDir })
      t.same(
        books.filter((book) => book.chargedMicros !== book.rowsMicros),
        [],
      )
    }
    await turn()
  }
  t.equal(rows, 30_001)
  // A slice has 512 rows at most, and the loop turns between two.
  t.ok(settled > 30, `${settled} were settled`)
})

type Kept = NonNullable<Parameters<typeof openSqliteUsage>[1]>['keep']

for (const [name, open] of [
  ['SQLite', (dbDir: string, keep: Kept) => openSqliteUsage(dbDir, { keep })],
  [
    'PostgreSQL',
    async (_: string, keep: Kept) => openPostgresUsage(new Database((await postgres()).url), { keep }),
  ],
] as const)
  t.test(`replicas with ${name}: rows are rolled up by who carries them`, async (t) => {
    const told: { rows?: number }[] = []
    let mayGoOn = false
    const keep = {
      keptDays: 30,
      mayGoOn: () => mayGoOn,
      tell: (fields: object) => told.push(fields),
      warn: () => t.fail(),
    }
    const dbDir = await folder(t)
    const plain: UsageLog = await open(dbDir, undefined)
    const entries = Array.from({ length: 60 }, (_, index) => {
      const row = {
        ...usageOf('rolled', 5),
        model: `m${index % 2}`,
        at: Date.now() - (index < 50 ? 900 - index * 10 : 1) * DAY_MS,
      }
      return { key: `roll:${index}`, chargedMicros: 5, row }
    })
    await plain.write(entries)
    await plain.close()
    mayGoOn = true
    const log = await open(dbDir, keep)
    t.teardown(() => log.close())
    await waitUntil(
      async () => told,
      ([first]) => first?.rows === 50,
    )
    const { rows } = await log.read({ tokenId: 'rolled', fromMs: 0, untilMs: Date.now(), most: 100 })
    const sum = (of: (row: (typeof rows)[number]) => number) => rows.reduce((all, row) => all + of(row), 0)
    t.equal(
      sum(({ requests }) => requests),
      60,
    )
    t.equal(
      sum(({ chargedMicros }) => chargedMicros),
      300,
    )
    t.equal(
      sum(({ inputTokens }) => inputTokens),
      180,
    )
    t.ok(rows.length < 60)
    t.equal(rows.filter(({ requestId }) => !/^(day|month) /.test(requestId)).length, 10)
    await log.write(entries)
    const again = await log.read({ tokenId: 'rolled', fromMs: 0, untilMs: Date.now(), most: 100 })
    t.same(again.rows, rows, 'a row that comes once more is known')
  })

let started: ReturnType<typeof startPostgres> | undefined
const postgres = () => {
  started ??= startPostgres(t)
  return started
}

/** A table with one old row, whatever the time. */
function oneOldRow() {
  const seen: number[] = []
  let last: number | undefined = NOW
  let doubted: number | undefined
  const table: RollUpTable = {
    nextToken: async (after) => (after === '' ? 'tok' : undefined),
    oldest: async (_id, span) => {
      seen.push(span.untilMs)
      return undefined
    },
    rollUp: async () => 0,
    lastTime: async () => last,
    doubted: async () => doubted,
    trust: async (time) => {
      last = time
      doubted = undefined
    },
    doubt: async (time) => {
      doubted = time
    },
  }
  return { table, seen, last: () => last }
}

t.test('a clock that was set a year ahead makes no row old', async (t) => {
  const { table, seen, last } = oneOldRow()
  const warned: object[] = []
  const keep = { keptDays: 400, table, mayGoOn: () => true, tell: () => undefined }
  const ahead = openRollUp({ ...keep, now: () => NOW + 366 * DAY_MS, warn: (fields) => warned.push(fields) })
  await waitUntil(
    async () => warned,
    ({ length }) => length > 0,
  )
  t.same(warned, [{ days: 366 }])
  t.same(seen, [])
  t.equal(last(), NOW)
  await ahead.close()
  let calls = 0
  // The second look of this clock comes a day later by the clock that nobody sets.
  const steadyMs = () => (calls++ === 0 ? 0 : DAY_MS)
  const right = openRollUp({ ...keep, now: () => NOW + DAY_MS, steadyMs, warn: () => t.fail() })
  await waitUntil(
    async () => seen,
    ({ length }) => length > 0,
  )
  await right.close()
  t.equal(last(), NOW + DAY_MS)
  t.equal(NO_ROW.at, 0)
})

t.test(
  'after a long stop the clock is believed once it has been so for a day, however often the server is started',
  async (t) => {
    const { table, seen, last } = oneOldRow()
    const warned: object[] = []
    const look = async (now: number, until: () => boolean): Promise<void> => {
      const rollUp = openRollUp({
        ...{ keptDays: 400, table, mayGoOn: () => true, tell: () => undefined },
        now: () => now,
        steadyMs: () => 0,
        warn: (fields) => warned.push(fields),
      })
      await waitUntil(async () => until(), Boolean)
      await rollUp.close()
    }
    await look(NOW + 9 * DAY_MS, () => warned.length === 1)
    t.same([seen, last()], [[], NOW])
    await look(NOW + 10 * DAY_MS, () => seen.length > 0)
    t.equal(last(), NOW + 10 * DAY_MS)
    t.equal(warned.length, 1, 'and told once')
    await look(NOW + 30 * DAY_MS, () => warned.length === 2)
    await look(NOW + 60 * DAY_MS, () => warned.length === 3)
    t.equal(last(), NOW + 10 * DAY_MS, 'another jump is another doubt')
  },
)
