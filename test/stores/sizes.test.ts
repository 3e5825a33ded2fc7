import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import { openStores } from '../../src/stores/open.ts'
import { ask, newToken, usageOf } from '../contract/token-store.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { lockLedger } from '../support/ledger-lock.ts'
import { startRedis } from '../support/redis.ts'

/** A bill that is decided while the store takes nothing. */
async function settleWhile(store: TokenStore, away: () => unknown) {
  const { id } = await store.mint(newToken(1_000))
  const hold = await store.hold(ask(id, 100))
  const { holds } = await store.sizes()
  await away()
  return { holds, settled: store.settle(hold?.id ?? 0, usageOf(id, 70)) }
}
const waitsLong = (store: TokenStore) =>
  waitUntil(store.sizes, ({ unsettled }) => unsettled.count === 1 && unsettled.oldestMs > 0)

t.test('files: a bill that the disk does not take is told until it is on record', async (t) => {
  const dbDir = temporaryFolder(t)
  const { tokens: store, close } = await openStores({ dbDir })
  t.teardown(close)
  let lock: ReturnType<typeof lockLedger> | undefined
  const { holds, settled } = await settleWhile(store, () => {
    lock = lockLedger(t, { dbDir })
  })
  t.equal(holds.count, 1)
  const { holds: none, commitQueue } = await waitsLong(store)
  t.same(none, { count: 0, oldestMs: 0 })
  t.equal(commitQueue, 1)
  lock?.end()
  await settled
  t.match(await store.sizes(), { tokens: 1, unsettled: { count: 0, oldestMs: 0 }, commitQueue: 0 })
})

t.test('Redis: a bill that Redis does not take is told, with its file', async (t) => {
  const redis = await startRedis(t)
  const settings = { dbDir: temporaryFolder(t), redis: readRedisUrl({ REDIS_URL: redis.url }, []) }
  const { tokens: store, close } = await openStores(settings)
  t.teardown(close)
  const { holds, settled } = await settleWhile(store, () => redis.signal('SIGSTOP'))
  t.equal(holds.count, 1)
  await settled
  const { files, tokens, usageRowsWaiting } = await waitsLong(store)
  t.ok((files.unsettled ?? 0) > 0)
  t.same([tokens, usageRowsWaiting], [undefined, undefined], 'nobody can say')
  redis.signal('SIGCONT')
  await waitUntil(store.sizes, ({ unsettled }) => unsettled.count === 0)
  t.match(await store.sizes(), { tokens: 1, usageRowsLost: 0 })
})

t.test('files: rows of requests are counted on when all before them were rolled up', async (t) => {
  const dbDir = temporaryFolder(t)
  const { tokens: store, close } = await openStores({ dbDir })
  t.teardown(close)
  const { id } = await store.mint(newToken(1_000))
  const pay = async (requestId: string, at = Date.now()) => {
    const hold = await store.hold(ask(id, 10))
    await store.settle(hold?.id ?? 0, { ...usageOf(id, 1), requestId, at })
  }
  const sizesNow = async () => {
    const { usageRows, usageOldestMs = 0 } = await store.sizes()
    return [usageRows, usageOldestMs > 60_000]
  }
  t.same(await sizesNow(), [0, false])
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { timeout: 5_000 })
  t.teardown(() => db.close())
  const longAgo = Date.now() - 100 * 86_400_000
  for (const name of ['month 2026-01', 'day 2026-02-01', 'day 2026-02-02']) await pay(name, longAgo)
  // As they come to stand when they are rolled up; some are gone into others since.
  db.exec('UPDATE usage SET rowid = rowid - 50')
  t.same(await sizesNow(), [0, false], 'sums alone')
  await pay('first of them', longAgo)
  for (const name of ['a', 'b', 'c']) await pay(name)
  t.same(await sizesNow(), [4, true])
  db.exec("DELETE FROM usage WHERE request_id = 'first of them'")
  t.same(await sizesNow(), [3, false])
})
