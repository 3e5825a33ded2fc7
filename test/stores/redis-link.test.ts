import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { readRedisUrl } from '../../src/config/redis-url.ts'
import { buildClient } from '../../src/stores/redis/client.ts'
import { RedisLink } from '../../src/stores/redis/link.ts'
import { startRedis } from '../support/redis.ts'

t.setTimeout(60_000)

t.test('a client that has given up is connected again, until the link is closed', async (test) => {
  const redis = await startRedis(test)
  const address = readRedisUrl({ REDIS_URL: redis.url }, [])
  if (address === undefined) return test.fail('the address was not read')
  const client = buildClient(address)
  await client.connect()
  const link = new RedisLink({
    client,
    deadlineMs: 300,
    probe: async () => void (await client.ping()),
    onBack: () => undefined,
  })
  test.teardown(() => link.close())
  await link.start()
  test.equal(await link.read((one) => one.ping()), 'PONG')

  const ended = once(client, 'end')
  client.disconnect()
  await ended
  test.notOk(link.isReady())
  for (const until = Date.now() + 10_000; !link.isReady() && Date.now() < until; ) await wait(20)
  test.equal(await link.read((one) => one.ping()), 'PONG', 'it is back')

  link.close()
  await wait(500)
  test.equal(client.status, 'end', 'closed, it stays away')
})
