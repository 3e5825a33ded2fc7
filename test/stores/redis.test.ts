import { randomUUID } from 'node:crypto'
import t from 'tap'
import { readRedisUrl } from '../../src/config/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { tokenStoreContract } from '../contract/token-store.ts'
import { startRedis } from '../support/redis.ts'
import { folder, type Owner } from './folders.ts'

const redis = await startRedis(t)

const openIn = async (test: Owner, dbDir: string, redisPrefix: string) => {
  const stores = await openStores({ dbDir, redis: readRedisUrl({ REDIS_URL: redis.url }, []), redisPrefix })
  test.teardown(() => stores.close())
  return stores
}

tokenStoreContract('redis', async (test) => {
  const [dbDir, prefix] = [await folder(test), randomUUID()]
  const stores = await openIn(test, dbDir, prefix)
  const reopen = async () => {
    await stores.close()
    return (await openIn(test, dbDir, prefix)).tokens
  }
  return { store: stores.tokens, reopen }
})
