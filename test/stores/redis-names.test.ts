import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { buildKeys } from '../../src/stores/redis/keys.ts'
import { newToken } from '../contract/token-store.ts'
import { startRedis } from '../support/redis.ts'
import { folder } from './folders.ts'

t.test('names that stand in Redis as an earlier release took them are given to nobody else', async (t) => {
  const redis = await startRedis(t)
  const client = new Redis(redis.port)
  const redisPrefix = randomUUID()
  const { names } = buildKeys(redisPrefix)
  await client.hset(
    names,
    JSON.stringify(['Jose\u0301', 'ci ']),
    'an-old-token',
    JSON.stringify(['ann', 'a']),
    'b',
  )
  const stores = await openStores({
    redis: readRedisUrl({ REDIS_URL: redis.url }, []),
    redisPrefix,
    dbDir: await folder(t),
  })
  t.teardown(async () => {
    await stores.close()
    client.disconnect()
  })
  const mint = (user: string, name: string) => stores.tokens.mint(newToken(1, { user, name }))
  await t.rejects(mint('Jos\u00e9', 'ci'), { code: 'name_taken' })
  await t.rejects(mint('ann', 'a'), { code: 'name_taken' })
  t.ok(await mint('Jos\u00e9', 'laptop'))
  t.equal(
    await client.hget(names, JSON.stringify(['Jose\u0301', 'ci '])),
    'an-old-token',
    'nothing is rewritten',
  )
})
