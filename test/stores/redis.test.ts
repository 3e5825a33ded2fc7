import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { accountsContract } from '../contract/accounts.ts'
import { answerMarksContract } from '../contract/answer-marks.ts'
import { idempotencyContract } from '../contract/idempotency.ts'
import { placesContract } from '../contract/places.ts'
import { raisedHoldsContract } from '../contract/raised-holds.ts'
import { serviceRowsContract } from '../contract/service-rows.ts'
import { sharedAccountsContract } from '../contract/shared-accounts.ts'
import { tokenHistories } from '../contract/token-histories.ts'
import { tokensContract } from '../contract/tokens.ts'
import { startRedis } from '../support/redis.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { folder, type Owner, usageRowsIn } from './folders.ts'

const redis = await startRedis(t)
t.setTimeout(120_000)
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

interface Place {
  dbDir: string
  redisPrefix: string
  port?: number
}

/** On a busy machine Redis itself may get no time for a while: these tests are not about that. */
const openIn = async (test: Owner, { port = redis.port, ...place }: Place) => {
  const address = readRedisUrl({ REDIS_URL: `redis://127.0.0.1:${port}` }, [])
  const stores = await openStores({ ...place, redis: address, replicaTimeoutMs: 600, redisDeadlineMs: 3_000 })
  test.teardown(() => stores.close())
  return stores
}

const open = async (test: Owner) => {
  const place = { dbDir: await folder(test), redisPrefix: randomUUID() }
  let stores = await openIn(test, place)
  const reopen = async () => {
    await stores.close()
    stores = await openIn(test, place)
    return stores.tokens
  }
  const address = readRedisUrl({ REDIS_URL: redis.url }, [])
  const rows = async () => usageRowsIn(place.dbDir)
  return { store: stores.tokens, reopen, books: () => readBooks({ ...place, redis: address }), rows }
}

t.test(
  'two replicas count together, by the clock of Redis, and its day ends at midnight UTC',
  async (test) => {
    const place = { dbDir: await folder(test), redisPrefix: randomUUID() }
    const replicas = [await openIn(test, place), await openIn(test, place)]
    const ask = (index: number) => replicas[index % 2]?.counts?.count('tok_1', 'day')
    const counts = await Promise.all(Array.from({ length: 100 }, (_, index) => ask(index)))
    test.same(new Set(counts.map((one) => one?.count)), new Set(Array.from({ length: 100 }, (_, n) => n + 1)))
    const [seconds, micros] = await eye.time()
    const left = 86_400_000 - ((Number(seconds) * 1000 + Math.floor(Number(micros) / 1000)) % 86_400_000)
    for (const one of counts) test.ok(Math.abs((one?.endsInMs ?? 0) - left) < 5_000)
    const key = `{${place.redisPrefix}}:window:day:tok_1`
    test.equal(Number(await eye.hget(key, 'ends')) % 86_400_000, 0, 'to the millisecond')
    // As if that midnight had just been: the next request is the first of its day.
    await eye.hset(key, 'ends', Number(seconds) * 1000 - 1)
    test.match(await ask(0), { count: 1 })
    test.match(await replicas[0]?.counts?.count('tok_1', 'minute'), { count: 1, endsInMs: 60_000 })
  },
)

/** Only the last replica is left: all that the dead ones held is settled. */
const onlyOneLeft = async (redisPrefix: string) => {
  while ((await eye.zcard(`{${redisPrefix}}:replicas`)) > 1) await wait(20)
}

tokensContract('redis', open)
accountsContract('redis', open)
placesContract('redis', open)
answerMarksContract('redis', open)
raisedHoldsContract('redis', open)
sharedAccountsContract('redis', open)
serviceRowsContract('redis', open)
tokenHistories('redis', open, { runs: 40, steps: 60 })
idempotencyContract('redis', async (test) => {
  const place = { dbDir: await folder(test), redisPrefix: randomUUID() }
  const proxy = await startProxy(test, redis.port)
  const stores = await openIn(test, { ...place, port: proxy.port })
  const reopen = async () => {
    await stores.close()
    return openIn(test, place)
  }
  const crash = async () => {
    // What a dead process looks like from outside: its connections are there and nothing comes.
    proxy.set('silent')
    const after = await openIn(test, place)
    await onlyOneLeft(place.redisPrefix)
    return after
  }
  return { ...stores, reopen, crash }
})
