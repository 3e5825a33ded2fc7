import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { buildKeys } from '../../src/stores/redis/keys.ts'
import { newToken } from '../contract/token-store.ts'
import { waitUntil } from '../support/journey.ts'
import { startRedis } from '../support/redis.ts'
import { folder } from './folders.ts'

const DAY_MS = 86_400_000
const REPLICA_TIMEOUT_MS = 1_000
const redis = await startRedis(t)

/** A store, and what a server whose clock went ahead would have left beside it before a failover. */
async function open(test: Test) {
  const redisPrefix = randomUUID()
  const stores = await openStores({
    redis: readRedisUrl({ REDIS_URL: redis.url }, []),
    redisPrefix,
    dbDir: await folder(test),
    replicaTimeoutMs: REPLICA_TIMEOUT_MS,
  })
  const client = new Redis(redis.port)
  test.teardown(async () => {
    await stores.close()
    client.disconnect()
  })
  const count = async (tokenId: string, window: 'minute' | 'day') => {
    const counted = await stores.counts?.count(tokenId, window)
    if (counted === undefined) throw new Error('there are no shared counts')
    return counted
  }
  return { ...stores, counts: { count }, client, keys: buildKeys(redisPrefix) }
}

t.test('windows that another clock began, two hours ahead, begin anew', async (t) => {
  const { counts, client, keys } = await open(t)
  for (const window of ['minute', 'day'] as const) {
    const first = await counts.count('a', window)
    t.equal((await counts.count('a', window)).count, 2, window)
    t.ok(first.endsInMs <= (window === 'day' ? DAY_MS : 60_000))
    const key = keys.window(`${window}:a`)
    const ends = Number(await client.hget(key, 'ends'))
    await client.hset(key, { ends: ends + (window === 'day' ? DAY_MS : 7_800_000), count: 1_000 })
    const { count, endsInMs } = await counts.count('a', window)
    t.equal(count, 1, window)
    t.ok(endsInMs <= (window === 'day' ? DAY_MS : 60_000), `${window}: ${endsInMs}`)
    t.equal((await counts.count('a', window)).count, 2, 'and go on from there')
  }
})

t.test('a dead replica does not live on by a clock that went ahead', async (t) => {
  const { tokens, client, keys } = await open(t)
  const { id } = await tokens.mint(newToken(1_000_000))
  const taken = await tokens.enter(id, 1)
  t.ok(taken)
  if (taken) tokens.leave(taken)
  await waitUntil(
    () => client.hlen(keys.places(id)),
    (count) => count === 0,
  )
  // One of another replica, which has died since.
  await client.hset(keys.places(id), 'dead:1', 1)
  await client.zadd(keys.replicas, Date.now() + 7_200_000, 'dead')
  t.equal(await tokens.enter(id, 1), undefined, 'as if it lived')
  const place = await waitUntil(
    () => tokens.enter(id, 1),
    (free) => free !== undefined,
  )
  t.ok(place)
})
