import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken } from '../contract/token-store.ts'
import { startRedis } from '../support/redis.ts'
import { goneHolds } from '../torture/spending.ts'
import { askOf, folder } from './folders.ts'

t.setTimeout(120_000)
const redis = await startRedis(t)

t.test('a replica that takes holds is not dead, whatever keeps its beats; a silent one is', async (test) => {
  const redisPrefix = randomUUID()
  const open = async (replicaTimeoutMs: number) => {
    const address = readRedisUrl({ REDIS_URL: `redis://127.0.0.1:${redis.port}` }, [])
    const stores = await openStores({
      redis: address,
      redisPrefix,
      dbDir: await folder(test),
      replicaTimeoutMs,
    })
    test.teardown(() => stores.close())
    return stores
  }
  // To the second one the first is late with every beat.
  const [rare, strict] = [await open(50_000), await open(1_000)]
  const { id } = await rare.tokens.mint(newToken(1_000_000))
  for (let held = 10; held <= 250; held += 10) {
    test.ok(await rare.tokens.hold(askOf(id, 10)))
    test.match(await strict.tokens.credits(id), { heldMicros: held, chargedMicros: 0 })
    await wait(100)
  }
  test.match(await goneHolds(strict, id), { heldMicros: 0, balanceMicros: 1_000_000 })
})
