import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import type { Hold } from '../../src/stores/contracts/accounts.ts'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { askOf, folder } from '../stores/folders.ts'
import { waitUntil } from '../support/journey.ts'
import { startRedis } from '../support/redis.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { backAfter, down, goneHolds } from '../torture/spending.ts'

t.setTimeout(120_000)
const redis = await startRedis(t)
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

/** A replica behind a way that can be cut, and a token with credits. */
async function openBehindProxy(test: Test) {
  const redisPrefix = randomUUID()
  const proxy = await startProxy(test, redis.port)
  const address = readRedisUrl({ REDIS_URL: `redis://127.0.0.1:${proxy.port}` }, [])
  const dbDir = await folder(test)
  const stores = await openStores({
    redis: address,
    redisPrefix,
    dbDir,
    replicaTimeoutMs: 3_000,
  })
  test.teardown(() => stores.close())
  const { id } = await stores.tokens.mint(newToken(1_000_000))
  return { proxy, stores, dbDir, redisPrefix, id, key: (name: string) => `{${redisPrefix}}:${name}` }
}

/** The only replica there is. */
const ownerOf = async (key: (name: string) => string): Promise<string> =>
  (await eye.zrange(key('replicas'), '0', '-1'))[0] ?? ''

t.test('after a partition no hold of a refused request stands, however many were refused', async (test) => {
  const { proxy, stores, id, key } = await openBehindProxy(test)
  proxy.set('deaf')
  const lost = await Promise.allSettled(Array.from({ length: 19 }, () => stores.tokens.hold(askOf(id, 10))))
  proxy.set('silent')
  test.ok(lost.every(({ status }) => status === 'rejected'))
  test.equal(await eye.hget(key(`account:${id}`), 'held'), '190', 'they stand, and nobody knows it')
  const refused = await Promise.allSettled(
    Array.from({ length: 12_000 }, () => stores.tokens.hold(askOf(id, 10))),
  )
  test.ok(refused.every(({ status }) => status === 'rejected'))
  proxy.set('pass')
  await backAfter([stores])
  test.match(await goneHolds(stores, id), { heldMicros: 0, balanceMicros: 1_000_000, chargedMicros: 0 })
  const tombstones = await eye.keys(key('ended:*'))
  test.equal(tombstones.length, 19, 'what was never sent is not given up either')
})

t.test('an idempotency key whose claim was lost on its way back is free for the next try', async (test) => {
  const { proxy, stores, id, key } = await openBehindProxy(test)
  const ask = { tokenId: id, key: 'again', fingerprint: 'f', bodyBytes: 1 }
  proxy.set('deaf')
  await test.rejects(stores.idempotency.claim({ ...ask, requestId: 'first', at: Date.now() }))
  proxy.set('pass')
  test.equal((await eye.keys(key('claim:*'))).length, 1, 'it stands, and nobody knows it')
  await backAfter([stores])
  for (const until = Date.now() + 10_000; Date.now() < until; await wait(20))
    if ((await eye.keys(key('claim:*'))).length === 0) break
  const next = await stores.idempotency.claim({ ...ask, requestId: 'second', at: Date.now() })
  test.match(next, { state: 'claimed' })
})

t.test(
  'a bill that waits on the disk of a dead replica is charged, also when others have ended its holds',
  async (test) => {
    const { proxy, stores, dbDir, redisPrefix, id, key } = await openBehindProxy(test)
    const open = async (folderOfIt: string) => {
      const address = readRedisUrl({ REDIS_URL: redis.url }, [])
      const opened = await openStores({
        redis: address,
        redisPrefix,
        dbDir: folderOfIt,
        replicaTimeoutMs: 1_000,
      })
      test.teardown(() => opened.close())
      return opened
    }
    const hold = await stores.tokens.hold(askOf(id, 100))
    if (hold === undefined) return test.fail('no hold')
    const row = usageOf(id, 70)
    stores.tokens.markAnswered(hold.id, 20, row)
    const dead = await ownerOf(key)
    await waitUntil(
      () => eye.hvals(key(`holds:${dead}`)),
      ([text = '']) => / 20 /.test(text),
    )
    proxy.set('silent')
    await stores.tokens.settle(hold.id, row)
    const file = join(dbDir, `unsettled-${dead}.jsonl`)
    // As a full disk leaves it: half a line in front.
    writeFileSync(file, `{"owner":"${dead}","ho\n${readFileSync(file, 'utf8')}`)
    const elsewhere = await open(await folder(test))
    test.match(await goneHolds(elsewhere, id), { heldMicros: 0, chargedMicros: 20 }, 'ended at its least')
    await waitUntil(
      () => eye.zscore(key('replicas'), dead),
      (seen) => seen === null,
    )
    const next = await open(dbDir)
    await waitUntil(
      () => existsSync(file),
      (isThere) => !isThere,
    )
    test.match(await next.tokens.credits(id), {
      heldMicros: 0,
      chargedMicros: 70,
      balanceMicros: 1_000_000 - 70,
    })
  },
)

t.test('a raise whose answer was lost stands once, and goes back with its hold', async (test) => {
  const { proxy, stores, id, key } = await openBehindProxy(test)
  const held = () => eye.hget(key(`account:${id}`), 'held')
  const [again, never] = [await stores.tokens.hold(askOf(id, 100)), await stores.tokens.hold(askOf(id, 100))]
  proxy.set('deaf')
  await test.rejects(stores.tokens.raise(again?.id ?? 0, 500), { code: 'store_unavailable', statusCode: 503 })
  await test.rejects(stores.tokens.raise(never?.id ?? 0, 700), { code: 'store_unavailable' })
  test.equal(await held(), '600', 'one stands, and nobody knows it; the other was never sent')
  proxy.set('pass')
  await backAfter([stores])
  test.match(await stores.tokens.raise(again?.id ?? 0, 500), { micros: 500, balanceMicros: 999_400 })
  test.equal(await held(), '600', 'asked for again it is the same raise')
  test.match(await stores.tokens.settle(again?.id ?? 0, usageOf(id, 450)), { chargedMicros: 450 })
  await stores.tokens.settle(never?.id ?? 0, usageOf(id, 50))
  test.same(await stores.tokens.credits(id), {
    creditedMicros: 1_000_000,
    balanceMicros: 999_500,
    heldMicros: 0,
    chargedMicros: 500,
  })
})

t.test('a raised hold of a dead replica ends at its least, and is not raised any more', async (test) => {
  const { proxy, stores, redisPrefix, id, key } = await openBehindProxy(test)
  const [begun, waiting] = [
    await stores.tokens.hold(askOf(id, 100)),
    await stores.tokens.hold(askOf(id, 100)),
  ]
  const row = usageOf(id, 450)
  stores.tokens.markAnswered(begun?.id ?? 0, 20, row)
  await Promise.all([begun, waiting].map((hold) => stores.tokens.raise(hold?.id ?? 0, 500)))
  const dead = await ownerOf(key)
  await waitUntil(
    () => eye.hvals(key(`holds:${dead}`)),
    (texts) => texts.some((text) => / 500 20 /.test(text)),
  )
  proxy.set('silent')
  const address = readRedisUrl({ REDIS_URL: redis.url }, [])
  const other = await openStores({
    redis: address,
    redisPrefix,
    dbDir: await folder(test),
    replicaTimeoutMs: 600,
  })
  test.teardown(() => other.close())
  test.match(await goneHolds(other, id), { heldMicros: 0, chargedMicros: 20, balanceMicros: 999_980 })
  await down([stores])
  proxy.set('pass')
  await backAfter([stores])
  for (const hold of [begun, waiting])
    await test.rejects(stores.tokens.raise(hold?.id ?? 0, 900), { message: /is given up/ })
  await stores.tokens.settle(waiting?.id ?? 0, usageOf(id, 0))
  test.match(await stores.tokens.settle(begun?.id ?? 0, row), { chargedMicros: 450 })
  test.same(await other.tokens.credits(id), {
    creditedMicros: 1_000_000,
    balanceMicros: 999_550,
    heldMicros: 0,
    chargedMicros: 450,
  })
})

t.test(
  'what a dead replica held on several accounts ends on each, and its late bill is charged to each',
  async (test) => {
    const { proxy, stores, redisPrefix, id, key } = await openBehindProxy(test)
    const other = await stores.tokens.mint(newToken(500))
    const accounts = [id, other.id] as const
    const begun = await stores.tokens.hold({ ...askOf(id, 100), accounts })
    await stores.tokens.hold({ ...askOf(id, 100), accounts })
    const row = usageOf(id, 90)
    stores.tokens.markAnswered(begun?.id ?? 0, 20, row)
    const dead = await ownerOf(key)
    await waitUntil(
      () => eye.hvals(key(`holds:${dead}`)),
      (texts) => texts.some((text) => text.startsWith(`${id},${other.id} 100 20 `)),
    )
    proxy.set('silent')
    const address = readRedisUrl({ REDIS_URL: redis.url }, [])
    const place = { redis: address, redisPrefix, dbDir: await folder(test) }
    const second = await openStores({ ...place, replicaTimeoutMs: 600 })
    test.teardown(() => second.close())
    for (const account of accounts)
      test.match(await goneHolds(second, account), { heldMicros: 0, chargedMicros: 20 })
    await stores.tokens.settle(begun?.id ?? 0, row)
    proxy.set('pass')
    await backAfter([stores])
    for (const account of accounts)
      await waitUntil(
        () => second.tokens.credits(account),
        ({ heldMicros, chargedMicros }) => heldMicros === 0 && chargedMicros === 90,
      )
    const { books, faults } = await readBooks(place)
    test.same(faults, [])
    test.same(
      new Set(books.map(({ chargedMicros, rowsMicros }) => `${chargedMicros} ${rowsMicros}`)),
      new Set(['90 90']),
    )
  },
)

t.test('a bill of the release before this one, left on the disk, is charged', async (test) => {
  const { stores, dbDir, id, key } = await openBehindProxy(test)
  const hold = await stores.tokens.hold(askOf(id, 100))
  const owner = await ownerOf(key)
  const row = usageOf(id, 70)
  const end = { requestId: row.requestId, costMicros: 70, row: JSON.stringify(row), mode: 'settle' }
  const line = JSON.stringify({ owner, hold: String(hold?.id), tokenId: id, end })
  // In the name of a replica that nobody knows any more.
  writeFileSync(join(dbDir, 'unsettled-gone.jsonl'), `\n${line}\n`)
  await waitUntil(
    () => stores.tokens.credits(id),
    ({ chargedMicros }) => chargedMicros === 70,
  )
  test.match(await stores.tokens.credits(id), { heldMicros: 0, balanceMicros: 1_000_000 - 70 })
})

t.test('a bill that did not reach the disk is written with the next one', async (test) => {
  const { proxy, stores, dbDir, id, key } = await openBehindProxy(test)
  const holds = [await stores.tokens.hold(askOf(id, 100)), await stores.tokens.hold(askOf(id, 100))]
  const file = join(dbDir, `unsettled-${await ownerOf(key)}.jsonl`)
  proxy.set('silent')
  rmSync(dbDir, { recursive: true })
  await test.rejects(stores.tokens.settle(holds[0]?.id ?? 0, usageOf(id, 1)), { code: 'ENOENT' })
  mkdirSync(dbDir)
  await stores.tokens.settle(holds[1]?.id ?? 0, usageOf(id, 2))
  const costs = readFileSync(file, 'utf8').match(/"costMicros":\d+,"row"/g) ?? []
  test.equal(costs.length, 2)
})

t.test(
  'ten thousand bills wait for Redis, then new holds are refused; all of them are charged',
  async (test) => {
    const { proxy, stores, id } = await openBehindProxy(test)
    const holds: (Hold | undefined)[] = []
    while (holds.length < 10_000)
      holds.push(...(await Promise.all(Array.from({ length: 100 }, () => stores.tokens.hold(askOf(id, 10))))))
    proxy.set('silent')
    await Promise.all(holds.map((hold) => stores.tokens.settle(hold?.id ?? 0, usageOf(id, 7))))
    await test.rejects(stores.tokens.hold(askOf(id, 10)), {
      message: /Too many charges wait/,
      statusCode: 503,
    })
    proxy.set('pass')
    await backAfter([stores])
    test.match(await goneHolds(stores, id), {
      heldMicros: 0,
      chargedMicros: 70_000,
      balanceMicros: 1_000_000 - 70_000,
    })
    test.ok(await stores.tokens.hold(askOf(id, 10)))
  },
)
