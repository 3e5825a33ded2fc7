import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken } from '../contract/token-store.ts'
import { startRedis } from '../support/redis.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { backAfter, goneHolds } from '../torture/spending.ts'
import { askOf, folder } from './folders.ts'

t.setTimeout(120_000)
const redis = await startRedis(t)
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

/** A replica behind a way that can be cut, and a token with credits. */
async function openBehindProxy(test: Test) {
  const redisPrefix = randomUUID()
  const proxy = await startProxy(test, redis.port)
  const address = readRedisUrl({ REDIS_URL: `redis://127.0.0.1:${proxy.port}` }, [])
  const stores = await openStores({
    redis: address,
    redisPrefix,
    dbDir: await folder(test),
    replicaTimeoutMs: 3_000,
  })
  test.teardown(() => stores.close())
  const { id } = await stores.tokens.mint(newToken(1_000_000))
  return { proxy, stores, id, key: (name: string) => `{${redisPrefix}}:${name}` }
}

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
  const ask = { tokenId: id, key: 'again', fingerprint: 'f' }
  proxy.set('deaf')
  await test.rejects(stores.keys.claim({ ...ask, requestId: 'first', at: Date.now() }))
  proxy.set('pass')
  test.equal((await eye.keys(key('claim:*'))).length, 1, 'it stands, and nobody knows it')
  await backAfter([stores])
  for (const until = Date.now() + 10_000; Date.now() < until; await wait(20))
    if ((await eye.keys(key('claim:*'))).length === 0) break
  const next = await stores.keys.claim({ ...ask, requestId: 'second', at: Date.now() })
  test.match(next, { state: 'claimed' })
})
