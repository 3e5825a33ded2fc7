import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { idempotencyContract } from '../contract/idempotency.ts'
import { tokenChangesContract } from '../contract/token-changes.ts'
import { tokenHistories } from '../contract/token-histories.ts'
import { tokenStoreContract } from '../contract/token-store.ts'
import { startRedis } from '../support/redis.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { folder, type Owner } from './folders.ts'

const redis = await startRedis(t)
t.setTimeout(120_000)
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

interface Place {
  dbDir: string
  redisPrefix: string
  port?: number
}

const openIn = async (test: Owner, { port = redis.port, ...place }: Place) => {
  const address = readRedisUrl({ REDIS_URL: `redis://127.0.0.1:${port}` }, [])
  const stores = await openStores({ ...place, redis: address, replicaTimeoutMs: 600 })
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
  return { store: stores.tokens, reopen }
}

/** Only the last replica is left: all that the dead ones held is settled. */
const onlyOneLeft = async (redisPrefix: string) => {
  while ((await eye.zcard(`{${redisPrefix}}:replicas`)) > 1) await wait(20)
}

tokenStoreContract('redis', open)
tokenChangesContract('redis', open)
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
