import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { buildClient } from '../../src/stores/redis/client.ts'
import { RedisLink } from '../../src/stores/redis/link.ts'
import { startRedis } from '../support/redis.ts'

t.setTimeout(60_000)

/** A link to a Redis of its own. */
async function openLink(test: Test) {
  const redis = await startRedis(test)
  const address = readRedisUrl({ REDIS_URL: redis.url }, [])
  if (address === undefined) throw new Error('the address was not read')
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
  return { redis, client, link }
}

t.test('a client that has given up is connected again, until the link is closed', async (test) => {
  const { client, link } = await openLink(test)
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

t.test('a machine that stood still is no Redis that is away; a silent one is, in time', async (test) => {
  const { redis, link } = await openLink(test)
  redis.signal('SIGSTOP')
  const answer = link.read((one) => one.ping())
  // Neither this process nor Redis gets on; afterwards Redis is the later one.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400)
  setTimeout(() => redis.signal('SIGCONT'), 30)
  test.equal(await answer, 'PONG')
  test.ok(link.isReady())
  redis.signal('SIGSTOP')
  await test.rejects(
    link.read((one) => one.ping()),
    { code: 'store_unavailable' },
  )
  redis.signal('SIGCONT')
})
