import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { askOf, folder } from '../stores/folders.ts'
import { authorityFile, makeCertificates } from '../support/certificates.ts'
import { get } from '../support/client.ts'
import { failGateway, startGateway, temporaryFolder } from '../support/gateway.ts'
import { unusedPort } from '../support/ports.ts'
import { startRedis, startSentinel } from '../support/redis.ts'

t.setTimeout(120_000)

t.test('a Cluster serves: every script finds its keys in one slot', async (test) => {
  // The bus would take the port 10,000 above, which may be anybody's.
  const bus = ['--cluster-port', String(await unusedPort()), '--cluster-announce-ip', '127.0.0.1']
  const redis = await startRedis(test, ['--cluster-enabled', 'yes', ...bus])
  const eye = new Redis(redis.port)
  test.teardown(() => eye.disconnect())
  await eye.cluster('ADDSLOTSRANGE', 0, 16_383)
  while (!/cluster_state:ok/.test(await eye.cluster('INFO'))) await wait(50)
  const address = readRedisUrl({ REDIS_URL: `redis-cluster://127.0.0.1:${redis.port}` }, [])
  const stores = await openStores({ redis: address, dbDir: await folder(test) })
  test.teardown(() => stores.close())
  const { tokens, idempotency, counts } = stores
  const { id } = await tokens.mint(newToken(100, { name: 'one' }))
  const hold = await tokens.hold(askOf(id, 60))
  test.match(await tokens.raise(hold?.id ?? 0, 80), { micros: 80, balanceMicros: 20 })
  test.match(await tokens.settle(hold?.id ?? 0, usageOf(id, 50)), { chargedMicros: 50, balanceMicros: 50 })
  const other = await tokens.mint(newToken(30))
  const shared = await tokens.hold({ ...askOf(id, 10), accounts: [id, other.id] })
  test.match(await tokens.raise(shared?.id ?? 0, 25), { micros: 25, balanceMicros: 5 })
  test.match(await tokens.settle(shared?.id ?? 0, usageOf(id, 0)), { chargedMicros: 0, balanceMicros: 30 })
  await tokens.adjust({ operationId: 'a', accounts: [id], micros: 5, at: 0 })
  test.ok(await tokens.enter(id, 1))
  const ask = { tokenId: id, key: 'k', fingerprint: 'f', bodyBytes: 1, requestId: 'r', at: Date.now() }
  test.match(await idempotency.claim(ask), { state: 'claimed' })
  test.match(await counts?.count(id, 'day'), { count: 1 })
  await redis.kill()
  while (tokens.isReady()) await wait(20)
  await redis.restart()
  for (const until = Date.now() + 15_000; !tokens.isReady() && Date.now() < until; ) await wait(50)
  test.match(await tokens.credits(id), { creditedMicros: 105, balanceMicros: 55 })
})

/** The password of a Redis is another one, for who connects from now on. */
async function changePassword(test: Test, { port }: { port: number }, ends: () => Promise<unknown>) {
  const eye = new Redis(port, { password: 'old-password-1' })
  test.teardown(() => eye.disconnect())
  await eye.config('SET', 'requirepass', 'new-password-2')
  await eye.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await ends()
}

/** Stores that lost their connection to a changed password are back by the new one. */
async function rotates(
  test: Test,
  port: number,
  urlOf: (password: string) => string,
  more?: () => Promise<unknown>,
) {
  const told: string[] = []
  const stores = await openStores({
    redis: readRedisUrl({ REDIS_URL: urlOf('old-password-1') }, []),
    dbDir: await folder(test),
    warn: (fields, text) => told.push(`${text} ${JSON.stringify(fields)}`),
  })
  test.teardown(() => stores.close())
  const { tokens } = stores
  const { id } = await tokens.mint(newToken(100))
  const until = async (isDone: () => boolean) => {
    for (const end = Date.now() + 20_000; !isDone() && Date.now() < end; ) await wait(20)
  }
  await changePassword(test, { port }, async () => more?.())
  await until(() => told.some((line) => line.includes('WRONGPASS')))
  stores.renew({ redis: readRedisUrl({ REDIS_URL: urlOf('new-password-2') }, []) })
  await until(() => told.some((line) => line.startsWith('Redis is used as REDIS_URL says now')))
  const hold = await tokens.hold(askOf(id, 60))
  test.match(await tokens.settle(hold?.id ?? 0, usageOf(id, 50)), { balanceMicros: 50 })
  const all = told.join('\n')
  test.match(all, /Redis cannot be used: requests are refused until it can .*WRONGPASS/)
  test.notMatch(all, /-password-/)
}

t.test('a Cluster whose password changed is reached by the new one', async (test) => {
  const bus = ['--cluster-port', String(await unusedPort()), '--cluster-announce-ip', '127.0.0.1']
  const redis = await startRedis(test, [
    '--requirepass',
    'old-password-1',
    '--cluster-enabled',
    'yes',
    ...bus,
  ])
  const eye = new Redis(redis.port, { password: 'old-password-1' })
  await eye.cluster('ADDSLOTSRANGE', 0, 16_383)
  while (!/cluster_state:ok/.test(await eye.cluster('INFO'))) await wait(50)
  eye.disconnect()
  await rotates(test, redis.port, (password) => `redis-cluster://:${password}@127.0.0.1:${redis.port}`)
})

t.test('a primary that its sentinel names is reached by a new password', async (test) => {
  const redis = await startRedis(test, ['--requirepass', 'old-password-1'])
  const sentinel = await startSentinel(test, {
    primaryPort: redis.port,
    lines: ['sentinel auth-pass main old-password-1', 'requirepass sentinel-password'],
  })
  const query = '?sentinelPassword=sentinel-password'
  const urlOf = (password: string): string =>
    `redis-sentinel://:${password}@127.0.0.1:${sentinel.port}/main${query}`
  const eye = new Redis(sentinel.port, { password: 'sentinel-password' })
  test.teardown(() => eye.disconnect())
  await rotates(test, redis.port, urlOf, () =>
    eye.call('SENTINEL', 'SET', 'main', 'auth-pass', 'new-password-2'),
  )
})

t.test('TLS is checked: the right certificate serves, a wrong name does not', async (test) => {
  const certificates = await makeCertificates()
  const dir = temporaryFolder(test)
  const NODE_EXTRA_CA_CERTS = authorityFile(dir, certificates)
  const open = async (name: 'good' | 'wrongName') => {
    const [key, cert] = [join(dir, `${name}.key`), join(dir, `${name}.pem`)]
    writeFileSync(key, certificates[name].key)
    writeFileSync(cert, certificates[name].cert)
    const tlsPort = String(await unusedPort())
    const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-auth-clients', 'no']
    await startRedis(test, ['--tls-port', tlsPort, ...files])
    return { REDIS_URL: `rediss://127.0.0.1:${tlsPort}`, NODE_EXTRA_CA_CERTS }
  }
  const gateway = await startGateway(test, { env: await open('good') })
  test.equal((await get(gateway, '/ready')).status, 200)
  const refused = await failGateway(test, { env: await open('wrongName') })
  test.match(refused, { code: 78, stderr: /Redis cannot be used: its certificate is for another host/ })
})
