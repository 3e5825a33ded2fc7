import { readdirSync, readFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken } from '../contract/token-store.ts'
import { waitUntil } from '../support/journey.ts'
import { startRedis } from '../support/redis.ts'
import { backAfter } from '../torture/spending.ts'
import { askOf, folder } from './folders.ts'

t.setTimeout(60_000)

t.test('half a transaction that a killed Redis has left in its log is never carried out', async (test) => {
  const redis = await startRedis(test, ['--appendfsync', 'always'])
  const eye = new Redis(redis.port)
  eye.on('error', () => undefined)
  test.teardown(() => eye.disconnect())
  const address = readRedisUrl({ REDIS_URL: redis.url }, [])
  const stores = await openStores({ redis: address, dbDir: await folder(test) })
  test.teardown(() => stores.close())
  const { id } = await stores.tokens.mint(newToken(1_000))
  const rewrites = async () => Number(/aof_rewrites:(\d+)/.exec(await eye.info('persistence'))?.[1])
  const isIdle = async () => /aof_rewrite_in_progress:0/.test(await eye.info('persistence'))
  // The store has met this Redis for the first time, and has its log written anew: what follows goes into the newest file.
  await waitUntil(rewrites, (count) => count > 0)
  await waitUntil(isIdle, Boolean)

  await stores.tokens.hold(askOf(id, 100))
  await redis.kill()
  const logs = join(redis.dir, 'appendonlydir')
  const log = readdirSync(logs)
    .filter((name) => name.endsWith('.incr.aof'))
    .sort()
    .at(-1)
  const path = join(logs, log ?? '')
  // Inside the transaction that takes the hold: as a kill leaves it in the middle of its write.
  const text = readFileSync(path, 'latin1')
  truncateSync(path, text.indexOf('HINCRBY', text.lastIndexOf(`holds:`)) + 3)
  await redis.restart()
  await backAfter([stores])
  await waitUntil(rewrites, (count) => count > 0)
  await waitUntil(isIdle, Boolean)
  test.match(await stores.tokens.credits(id), { heldMicros: 0, balanceMicros: 1_000 })
  test.match(await stores.tokens.hold(askOf(id, 7)), { micros: 7 })

  await redis.kill()
  await redis.restart()
  await backAfter([stores])
  const held = (await eye.hvals(`{gateway}:holds:${(await eye.zrange('{gateway}:replicas', '0', '-1'))[0]}`))
    .length
  test.equal(held, 1, 'of the hold that was lost there is no half')
  test.match(await stores.tokens.credits(id), { heldMicros: 7, balanceMicros: 993 })
})
