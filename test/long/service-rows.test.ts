import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Redis } from 'ioredis'
import t from 'tap'
import '../support/early-look.ts'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { type ServiceRow, USAGE_COLUMNS } from '../../src/stores/contracts/usage-columns.ts'
import { openStores, readBooks, type StoreSettings, type Stores } from '../../src/stores/open.ts'
import { Database } from '../../src/stores/sql/database.ts'
import { openPostgresUsage } from '../../src/stores/sql/postgres-usage.ts'
import { openSqliteUsage } from '../../src/stores/sql/sqlite-usage.ts'
import { ask, newToken, usageOf } from '../contract/token-store.ts'
import { folder, type Owner, usageRowsIn } from '../stores/folders.ts'
import { waitUntil } from '../support/journey.ts'
import { startPostgres } from '../support/postgres.ts'
import { startRedis } from '../support/redis.ts'
import { serviceRowOf } from '../support/service-rows.ts'
import { startProxy } from '../support/tcp-proxy.ts'

t.setTimeout(120_000)
const [redis, postgres] = [await startRedis(t), await startPostgres(t)]
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

const DAY_MS = 86_400_000
const NAMES = USAGE_COLUMNS.map(({ name }) => name)

/** Rows over two years, of two callers, one of whom had no token; those of the last are of now. */
const oldRows = (): ServiceRow[] =>
  Array.from({ length: 600 }, (_, index) =>
    serviceRowOf(`req_${index}`, {
      tokenId: index % 2 ? 'tok_1' : '',
      user: index % 2 ? 'ann' : `sub-${index % 4}`,
      method: index % 3 ? 'GET' : 'POST',
      path: `/api/users/${index % 5 ? '{id}' : 'me'}`,
      status: index % 7 ? 200 : 503,
      bytesIn: index,
      bytesOut: 10 * index,
      at: Date.now() - (600 - index) * 1.2 * DAY_MS,
    }),
  )

const SUMS = `SELECT token_id, "user", provider, method, path, status, sum(requests) AS n, sum(bytes_in) AS bytes_in,
  sum(bytes_out) AS bytes_out, sum(latency_ms) AS latency FROM usage WHERE endpoint = 'service'
  GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6`

const COUNT = `SELECT count(*) AS n FROM usage WHERE endpoint = 'service'`

function query(dbDir: string, sql: string): Record<string, unknown>[] {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  const rows = db.prepare(sql).all()
  db.close()
  return rows.map((row) => ({ ...row }))
}

t.test(
  'files: rows of services are rolled up too, those of persons as well, and no sum changes',
  async (t) => {
    const dbDir = await folder(t)
    const first = await openStores({ dbDir })
    const { id } = await first.tokens.mint(newToken(1_000))
    const hold = await first.tokens.hold(ask(id, 100))
    await first.tokens.settle(hold?.id ?? 0, usageOf(id, 40))
    for (const row of oldRows()) first.tokens.note({ ...row, tokenId: row.tokenId === '' ? '' : id })
    await first.close()
    const before = { sums: query(dbDir, SUMS), books: await readBooks({ dbDir }) }
    t.same(before.books.faults, [], 'who came without a token is no stranger')
    t.match(before.books.books, [{ tokenId: id, chargedMicros: 40, rowsMicros: 40 }])
    const told: object[] = []
    const stores = await openStores({ dbDir, usageDays: '30', tell: (fields) => told.push(fields) })
    t.teardown(() => stores.close())
    await waitUntil(
      () => told,
      ([rolled]) => rolled !== undefined,
    )
    t.match(told, [{ rows: 575 }])
    t.same(query(dbDir, SUMS), before.sums)
    t.ok(Number(query(dbDir, COUNT)[0]?.n) < 500)
    t.same(query(dbDir, "SELECT count(*) AS n FROM usage WHERE token_id = '' AND request_id LIKE 'req%'"), [
      { n: 12 },
    ])
    t.same(await readBooks({ dbDir }), before.books)
  },
)

t.test(
  'files: a release that knows no services goes on with the folder, and its rows are whole here',
  async (t) => {
    const dbDir = await folder(t)
    const one = await openStores({ dbDir })
    one.tokens.note(serviceRowOf('req_new'))
    await one.close()
    const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
    const known = NAMES.slice(0, 23)
    const values = USAGE_COLUMNS.slice(0, 23).map(({ type }) => (type === 'text' ? 'x' : 1))
    db.prepare(`INSERT INTO usage (${known}) VALUES (${known.map(() => '?')})`).run(...values)
    db.close()
    const again = await openStores({ dbDir })
    t.teardown(() => again.close())
    t.match(usageRowsIn(dbDir), [
      { request_id: 'req_new', method: 'GET', bytes_out: 1234 },
      { request_id: 'x', method: '', path: '', bytes_in: 0, bytes_out: 0 },
    ])
  },
)

for (const [name, open] of [
  ['SQLite', (dbDir: string, keep?: Keep) => openSqliteUsage(dbDir, keep && { keep })],
  ['PostgreSQL', (_: string, keep?: Keep) => openPostgresUsage(new Database(postgres.url), keep && { keep })],
] as const)
  t.test(`replicas with ${name}: rows of services keep their sums when they are rolled up`, async (t) => {
    const dbDir = await folder(t)
    const sums = async (sql = SUMS) => (name === 'SQLite' ? query(dbDir, sql) : postgres.query(sql))
    const plain = await open(dbDir)
    const entries = oldRows().map((row) => ({
      key: row.requestId,
      chargedMicros: 0,
      row: { ...EMPTY, ...row },
    }))
    await plain.write(entries)
    await plain.write(entries)
    await plain.close()
    const before = await sums()
    const told: object[] = []
    const log = await open(dbDir, {
      keptDays: 30,
      mayGoOn: () => true,
      tell: (fields) => told.push(fields),
      warn: (fields) => t.fail(JSON.stringify(fields)),
    })
    t.teardown(() => log.close())
    await waitUntil(
      () => told,
      ([rolled]) => rolled !== undefined,
    )
    t.match(told, [{ rows: 575 }])
    t.same(await sums(), before)
    t.ok(Number((await sums(COUNT))[0]?.n) < 500)
  })

type Keep = NonNullable<NonNullable<Parameters<typeof openSqliteUsage>[1]>['keep']>

const EMPTY = usageOf('', 0)

const openIn = async (test: Owner, settings: Partial<StoreSettings>, port = redis.port) => {
  const stores = await openStores({
    redis: readRedisUrl({ REDIS_URL: `redis://127.0.0.1:${port}` }, []),
    replicaTimeoutMs: 1_200,
    dbDir: await folder(test),
    ...settings,
  })
  test.teardown(() => stores.close())
  return stores
}

const serviceRows = async ({ tokens }: Stores) => (await tokens.sizes()).serviceRows

t.test('rows of all replicas end up in the database, each once, beside those of paid requests', async (t) => {
  const [dbDir, redisPrefix] = [await folder(t), randomUUID()]
  const replicas = [await openIn(t, { dbDir, redisPrefix }), await openIn(t, { dbDir, redisPrefix })]
  const { id } = (await replicas[0]?.tokens.mint(newToken(1_000_000))) ?? { id: '' }
  for (let n = 0; n < 2_000; n++) replicas[n % 2]?.tokens.note(serviceRowOf(`req_${n}`, { tokenId: id }))
  const hold = await replicas[0]?.tokens.hold(ask(id, 5))
  await replicas[0]?.tokens.settle(hold?.id ?? 0, usageOf(id, 3))
  const found = await waitUntil(
    () => usageRowsIn(dbDir),
    ({ length }) => length >= 2_001,
  )
  t.equal(found.length, 2_001)
  t.equal(new Set(found.map((row) => row.request_id)).size, 2_001)
  await replicas[0]?.close()
  for (let n = 0; n < 100; n++) replicas[1]?.tokens.note(serviceRowOf(`last_${n}`))
  await replicas[1]?.close()
  t.equal(usageRowsIn(dbDir).length, 2_101, 'the last replica takes the last rows along')
})

t.test(
  'while the database is down no paid row is dropped for those of services, which are bounded',
  async (t) => {
    const redisPrefix = randomUUID()
    const stores = await openIn(t, { redisPrefix, databaseUrl: postgres.url, usageQueueRows: 300 })
    await waitUntil(
      () => stores.tokens.isReady(),
      (isReady) => isReady,
    )
    await postgres.stop()
    const { id } = await stores.tokens.mint(newToken(1_000_000))
    for (let n = 0; n < 1_000; n++) stores.tokens.note(serviceRowOf(`req_${n}`, { tokenId: id }))
    for (let n = 0; n < 100; n++) {
      const hold = await stores.tokens.hold(ask(id, 5))
      await stores.tokens.settle(hold?.id ?? 0, usageOf(id, 3))
    }
    await waitUntil(
      () => eye.xlen(`{${redisPrefix}}:service-usage`),
      (count) => count === 256,
    )
    t.equal(await eye.xlen(`{${redisPrefix}}:usage`), 100, 'all that is paid for')
    t.match(await serviceRows(stores), { waiting: 1_000 - 256, dropped: 0 })
    await postgres.start()
    const countOf = async (endpoint: string) => {
      const where = `token_id = '${id}' AND endpoint = '${endpoint}'`
      const [found] = await postgres.query(`SELECT count(*) AS n FROM usage WHERE ${where}`)
      return Number(found?.n)
    }
    await waitUntil(
      () => countOf('service'),
      (count) => count === 1_000,
    )
    t.equal(await countOf('chat/completions'), 100)
    t.match(await serviceRows(stores), { waiting: 0, dropped: 0 })
  },
)

t.test('rows that Redis takes and does not acknowledge are one row each', async (t) => {
  const [dbDir, redisPrefix] = [await folder(t), randomUUID()]
  const proxy = await startProxy(t, redis.port)
  const stores = await openIn(t, { dbDir, redisPrefix, redisDeadlineMs: 300 }, proxy.port)
  const watching = await openIn(t, { dbDir, redisPrefix })
  for (let round = 0; round < 3; round++) {
    await waitUntil(
      () => stores.tokens.isReady(),
      (isReady) => isReady,
    )
    proxy.set('deaf')
    const lost = proxy.lost()
    // A whole batch leaves at once.
    for (let n = 0; n < 256; n++) stores.tokens.note(serviceRowOf(`req_${round}_${n}`))
    await waitUntil(proxy.lost, (count) => count > lost)
    proxy.set('pass')
    await waitUntil(
      () => serviceRows(stores),
      ({ waiting }) => waiting === 0,
    )
  }
  await waitUntil(
    () => serviceRows(stores),
    ({ waiting }) => waiting === 0,
  )
  await stores.close()
  await watching.close()
  const found = usageRowsIn(dbDir).map((row) => row.request_id)
  t.equal(found.length, 768)
  t.equal(new Set(found).size, 768)
})

t.test('a Redis that is full counts no callers of routes, and bills what runs', async (t) => {
  const redisPrefix = randomUUID()
  const stores = await openIn(t, { redisPrefix })
  const { id } = await stores.tokens.mint(newToken(1_000))
  const count = (key: string) => stores.counts?.count(key, 'minute')
  t.match(await count('route both /a address 1'), { count: 1 })
  t.match(await count(id), { count: 1 })
  const hold = await stores.tokens.hold(ask(id, 100))
  await eye.config('SET', 'maxmemory', '1')
  t.teardown(() => eye.config('SET', 'maxmemory', '0'))
  await t.rejects(Promise.resolve(count('route both /a address 2')), { code: 'store_unavailable' })
  t.match(await count(id), { count: 2 })
  t.match(await stores.tokens.settle(hold?.id ?? 0, usageOf(id, 40)), { chargedMicros: 40 })
  await eye.config('SET', 'maxmemory', '0')
  t.match(await count('route both /a address 2'), { count: 1 })
  const keys = await eye.keys(`{${redisPrefix}}:window:*`)
  for (const key of keys) t.ok((await eye.pttl(key)) > 0, `${key} goes by itself`)
})
