import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores, type Stores } from '../../src/stores/open.ts'
import { describeRefusal } from '../../src/stores/redis/refusals.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { askOf, folder } from '../stores/folders.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { createWaiting } from '../support/waiting.ts'

t.setTimeout(60_000)

interface Line {
  text: string
  reason?: string
  way?: string
}

function addressOf(url: string) {
  const address = readRedisUrl({ REDIS_URL: url }, [])
  if (address === undefined) throw new Error(`no address: ${url}`)
  return address
}

const urlOf = ({ port }: { port: number }, password = ''): string =>
  `redis://${password === '' ? '' : `:${password}@`}127.0.0.1:${port}`

/** Stores on this URL, and what they tell the operator. */
async function open(test: Test, url: string) {
  const waiting = createWaiting()
  const lines: Line[] = []
  let refusals = 0
  const stores = await openStores({
    redis: addressOf(url),
    dbDir: await folder(test),
    warn: (fields, text) => {
      lines.push({ ...fields, text })
      waiting.check()
    },
    onRefused: () => {
      refusals += 1
      waiting.check()
    },
  })
  test.teardown(() => stores.close())
  const said = (text: RegExp, reason = /(?:)/) =>
    waiting.until(
      `${text} ${reason}`,
      () => lines.find((line) => text.test(line.text) && reason.test(line.reason ?? '')),
      20_000,
    )
  const refused = () => waiting.until('a refusal', () => (refusals > 0 ? refusals : undefined), 20_000)
  return { stores, lines, said, refused, renew: (next: string) => stores.renew({ redis: addressOf(next) }) }
}

async function admin(test: Test, redis: TestRedis, password?: string): Promise<Redis> {
  const eye = new Redis(redis.port, { ...(password === undefined ? {} : { password }) })
  test.teardown(() => eye.disconnect())
  await eye.ping()
  return eye
}

async function isBack({ tokens }: Stores): Promise<void> {
  for (const until = Date.now() + 20_000; !tokens.isReady() && Date.now() < until; ) await wait(20)
}

/** Something is held, charged and right. */
async function pays(test: Test, { tokens }: Stores): Promise<void> {
  const { id } = await tokens.mint(newToken(100))
  const hold = await tokens.hold(askOf(id, 60))
  test.match(await tokens.settle(hold?.id ?? 0, usageOf(id, 50)), { chargedMicros: 50, balanceMicros: 50 })
}

const kill = (eye: Redis) => eye.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')

t.test('the password changes in Redis first: it is told, and healed by the new one', async (test) => {
  const redis = await startRedis(test, ['--requirepass', 'old-password-1'])
  const { stores, said, refused, renew, lines } = await open(test, urlOf(redis, 'old-password-1'))
  const eye = await admin(test, redis, 'old-password-1')
  await eye.config('SET', 'requirepass', 'new-password-2')
  await pays(test, stores)
  await kill(eye)
  const line = await said(/^Redis cannot be used: requests are refused/, /WRONGPASS/)
  test.match(line.way, 'REDIS_URL_FILE')
  await refused()
  test.notOk(stores.tokens.isReady())
  renew(urlOf(redis, 'new-password-2'))
  await said(/^Redis is used as REDIS_URL says now/)
  await said(/^Redis answers again/)
  await pays(test, stores)
  test.notMatch(JSON.stringify(lines), /old-password|new-password|\bat .*\.js/)
})

t.test('the file changes first: the connection stays until Redis knows the new one', async (test) => {
  const redis = await startRedis(test, ['--requirepass', 'old-password-1'])
  const { stores, said, renew } = await open(test, urlOf(redis, 'old-password-1'))
  const { id } = await stores.tokens.mint(newToken(1_000))
  const hold = await stores.tokens.hold(askOf(id, 60))
  renew(urlOf(redis, 'new-password-2'))
  await said(/the connection from before stays/, /WRONGPASS/)
  test.ok(stores.tokens.isReady())
  await pays(test, stores)
  const eye = await admin(test, redis, 'old-password-1')
  await eye.config('SET', 'requirepass', 'new-password-2')
  await said(/^Redis is used as REDIS_URL says now/)
  test.match(await stores.tokens.settle(hold?.id ?? 0, usageOf(id, 50)), { balanceMicros: 950 })
  await kill(eye)
  await wait(50)
  await isBack(stores)
  await pays(test, stores)
})

t.test('a copy of the data takes over on another host; a Redis without them does not', async (test) => {
  const first = await startRedis(test)
  const { stores, said, renew } = await open(test, urlOf(first))
  const { id } = await stores.tokens.mint(newToken(1_000))
  const hold = await stores.tokens.hold(askOf(id, 60))
  const empty = await startRedis(test)
  renew(urlOf(empty))
  await said(/the connection from before stays/, /empty, or another one/)
  await pays(test, stores)

  const second = await startRedis(test, ['--replicaof', '127.0.0.1', String(first.port)])
  const eye = await admin(test, second)
  while (!/master_link_status:up/.test(await eye.info('replication'))) await wait(20)
  renew(urlOf(second))
  await said(/the connection from before stays/, /READONLY/)
  test.match(await stores.tokens.credits(id), { creditedMicros: 1_000 })
  await eye.replicaof('NO', 'ONE')
  await said(/^Redis is used as REDIS_URL says now/)
  await first.kill()
  test.match(await stores.tokens.settle(hold?.id ?? 0, usageOf(id, 50)), { balanceMicros: 950 })
  await pays(test, stores)
})

t.test('a copy that may evict balances does not take over until it keeps all', async (test) => {
  const first = await startRedis(test)
  const { stores, said, renew } = await open(test, urlOf(first))
  const ofFirst = ['--replicaof', '127.0.0.1', String(first.port)]
  const second = await startRedis(test, [
    ...ofFirst,
    '--maxmemory',
    '100mb',
    '--maxmemory-policy',
    'allkeys-lru',
  ])
  const eye = await admin(test, second)
  while (!/master_link_status:up/.test(await eye.info('replication'))) await wait(20)
  await eye.replicaof('NO', 'ONE')
  renew(urlOf(second))
  await said(/the connection from before stays/, /throw balances away/)
  await pays(test, stores)
  await eye.config('SET', 'maxmemory-policy', 'noeviction')
  await said(/^Redis is used as REDIS_URL says now/)
  await pays(test, stores)
})

t.test(
  'nothing is written into the Redis of another deployment that the URL names by mistake',
  async (test) => {
    const [first, second] = [await startRedis(test), await startRedis(test)]
    const { stores, said, renew } = await open(test, urlOf(first))
    await open(test, urlOf(second))
    const eye = await admin(test, second)
    const replicas = () => eye.zcard('{gateway}:replicas')
    test.equal(await replicas(), 1)
    renew(urlOf(second))
    await said(/the connection from before stays/, /empty, or another one/)
    await pays(test, stores)
    test.equal(await replicas(), 1, 'its own alone')
  },
)

t.test('a connection that ends with commands on their way has a reason too', async (test) => {
  const server = createServer((socket) => socket.once('data', () => socket.end()))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  test.teardown(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const client = new Redis(port, '127.0.0.1', { enableReadyCheck: false, maxRetriesPerRequest: 0 })
  client.on('error', () => undefined)
  test.teardown(() => client.disconnect())
  const error: unknown = await client.evalsha('0', 0).catch((cause: unknown) => cause)
  test.match(describeRefusal(error), { reason: 'it closed the connection' })
})

t.test('a change of hundreds of requests a second loses none and charges none twice', async (test) => {
  const redis = await startRedis(test, ['--requirepass', 'old-password-1'])
  const { stores, said, renew } = await open(test, urlOf(redis, 'old-password-1'))
  const { id } = await stores.tokens.mint(newToken(1_000_000))
  const eye = await admin(test, redis, 'old-password-1')
  await eye.config('SET', 'requirepass', 'new-password-2')
  let [isOn, charged] = [true, 0]
  const work = async () => {
    while (isOn) {
      const hold = await stores.tokens.hold(askOf(id, 10))
      await stores.tokens.settle(hold?.id ?? 0, usageOf(id, 1))
      charged += 1
    }
  }
  const workers = Array.from({ length: 20 }, work)
  renew(urlOf(redis, 'new-password-2'))
  await said(/^Redis is used as REDIS_URL says now/)
  // The replaced connection ends in this time.
  await wait(1_200)
  isOn = false
  await Promise.all(workers)
  test.match(await stores.tokens.credits(id), { balanceMicros: 1_000_000 - charged, heldMicros: 0 })
  test.match(await eye.info('clients'), /connected_clients:2\r/, 'it is gone: there are ours and one more')
})
