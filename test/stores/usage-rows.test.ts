import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores, type StoreSettings, type Stores } from '../../src/stores/open.ts'
import { Database } from '../../src/stores/sql/database.ts'
import { openPostgresUsage } from '../../src/stores/sql/postgres-usage.ts'
import { openSqliteUsage } from '../../src/stores/sql/sqlite-usage.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { usageLogContract } from '../contract/usage-log.ts'
import { waitUntil } from '../support/journey.ts'
import { startPostgres } from '../support/postgres.ts'
import { startRedis } from '../support/redis.ts'
import { folder, type Owner } from './folders.ts'
import '../support/early-look.ts'

t.setTimeout(120_000)
const [redis, postgres] = [await startRedis(t), await startPostgres(t)]
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

const openIn = async (test: Owner, settings: StoreSettings) => {
  const stores = await openStores({
    redis: readRedisUrl({ REDIS_URL: redis.url }, []),
    replicaTimeoutMs: 1_200,
    ...settings,
  })
  test.teardown(() => stores.close())
  return stores
}

/** So many requests at 3 micro-credits each, half of them on each replica. */
async function spend(replicas: readonly Stores[], count: number): Promise<void> {
  const { id } = (await replicas[0]?.tokens.mint(newToken(1_000_000))) ?? { id: '' }
  const one = async (index: number) => {
    const tokens = replicas[index % replicas.length]?.tokens
    const hold = await tokens?.hold({ accounts: [id], requestId: randomUUID(), micros: 5, leastMicros: 5 })
    await tokens?.settle(hold?.id ?? 0, usageOf(id, 3))
  }
  await Promise.all(Array.from({ length: count }, (_, index) => one(index)))
}

const waiting = (prefix: string) => eye.xlen(`{${prefix}}:usage`)
const SUMS = 'SELECT count(*) AS n, coalesce(sum(charged_micros), 0) AS charged FROM usage'

t.test('rows of all replicas end up in usage.sqlite, each once', async (test) => {
  const [dbDir, redisPrefix] = [await folder(test), randomUUID()]
  const replicas = [await openIn(test, { dbDir, redisPrefix }), await openIn(test, { dbDir, redisPrefix })]
  await spend(replicas, 500)
  await waitUntil(
    () => waiting(redisPrefix),
    (left) => left === 0,
  )
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  test.teardown(() => db.close())
  test.same({ ...db.prepare(SUMS).get() }, { n: 500, charged: 1500 })
  test.match(db.prepare('SELECT * FROM usage').get(), {
    user: 'ann',
    model: 'demo',
    status: 200,
    first_byte_ms: 3,
  })
})

usageLogContract('SQLite', async (test) => openSqliteUsage(await folder(test)))
usageLogContract('PostgreSQL', () => openPostgresUsage(new Database(postgres.url)))

t.test('while PostgreSQL is down rows wait in Redis, up to a number; money is not touched', async (test) => {
  const [dbDir, redisPrefix] = [await folder(test), randomUUID()]
  const said: string[] = []
  const stores = await openIn(test, {
    dbDir,
    redisPrefix,
    databaseUrl: postgres.url,
    usageQueueRows: 40,
    warn: (_fields, text) => said.push(text),
  })
  await spend([stores], 10)
  await waitUntil(
    () => waiting(redisPrefix),
    (left) => left === 0,
  )
  await postgres.stop()
  await spend([stores], 100)
  test.equal(await waiting(redisPrefix), 40, 'the latest stay')
  const [token] = (await stores.tokens.list()).slice(-1)
  test.match(await stores.tokens.credits(token?.id ?? ''), { chargedMicros: 300, heldMicros: 0 })
  await waitUntil(
    () => said.join('\n'),
    (text) => /database does not take them/.test(text) && /oldest usage rows were dropped/.test(text),
  )
  await postgres.start()
  await waitUntil(
    () => waiting(redisPrefix),
    (left) => left === 0,
  )
  const [found] = await postgres.query(`${SUMS} WHERE token_id = '${token?.id}'`)
  test.same({ ...found }, { n: '40', charged: '120' })
  test.match(said.at(-1), 'usage rows are written again')
})

t.test('what is remembered of old entries is forgotten a little with each write', async (test) => {
  const dbDir = await folder(test)
  await (await openSqliteUsage(dbDir)).close()
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  test.teardown(() => db.close())
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO usage_keys SELECT 'old:' || i, i FROM n`)
  const log = await openSqliteUsage(dbDir)
  test.teardown(() => log.close())
  const left: unknown[] = []
  for (let index = 0; index < 4; index++) {
    await log.write([{ key: `new:${index}`, chargedMicros: 1, row: usageOf('tok', 1) }])
    left.push(db.prepare("SELECT count(*) AS n FROM usage_keys WHERE key LIKE 'old:%'").get()?.n)
  }
  test.same(left, [600, 200, 0, 0])
})

t.test('the replica that carries rows rolls old ones up, and says so', async (test) => {
  const dbDir = await folder(test)
  const log = await openSqliteUsage(dbDir)
  const old = { ...usageOf('tok', 1), at: Date.now() - 500 * 86_400_000 }
  await log.write(['a', 'b', 'c'].map((key) => ({ key, chargedMicros: 1, row: { ...old, requestId: key } })))
  await log.close()
  const said: object[] = []
  const told = { usageDays: '30', tell: (fields: object) => said.push(fields) }
  const stores = await openIn(test, { dbDir, redisPrefix: randomUUID(), ...told })
  await spend([stores], 1)
  await waitUntil(
    async () => said,
    ([first]) => first !== undefined,
  )
  test.match(said, [{ rows: 3, keptDays: 30 }])
})
