import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { moveStores } from '../../src/stores/move.ts'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { accountsContract } from '../contract/accounts.ts'
import { answerMarksContract } from '../contract/answer-marks.ts'
import { idempotencyContract } from '../contract/idempotency.ts'
import { placesContract } from '../contract/places.ts'
import { newToken } from '../contract/token-store.ts'
import { tokensContract } from '../contract/tokens.ts'
import { folder, type Owner } from '../stores/folders.ts'
import { startRedis } from '../support/redis.ts'
import { startProxy } from '../support/tcp-proxy.ts'

t.setTimeout(120_000)
const PAGE = join(import.meta.dirname, '..', '..', 'docs', 'replicas.md')
const PASSWORD = 'a-password-of-the-test'

const [line = ''] = /^ACL SETUSER gateway .*$/m.exec(readFileSync(PAGE, 'utf8')) ?? []
const redis = await startRedis(t)
const eye = new Redis(redis.port)
t.teardown(() => eye.disconnect())

/** The user of the manual, for this prefix. */
async function grant(prefix: string, without: readonly string[] = []): Promise<void> {
  const words = line.replace('PASSWORD', PASSWORD).replace('{gateway}', `{${prefix}}`).split(' ').slice(1)
  await eye.call('ACL', 'DELUSER', 'gateway')
  await eye.call('ACL', ...words.filter((word) => !without.includes(word)))
}

const addressAt = (port: number) => {
  const address = readRedisUrl({ REDIS_URL: `redis://gateway:${PASSWORD}@127.0.0.1:${port}` }, [])
  if (address === undefined) throw new Error('there is an address')
  return address
}
const address = addressAt(redis.port)

const openAs = async (test: Owner, redisPrefix: string, port = redis.port) => {
  const stores = await openStores({
    redis: addressAt(port),
    redisPrefix,
    dbDir: await folder(test),
    replicaTimeoutMs: 600,
    redisDeadlineMs: 3_000,
  })
  test.teardown(() => stores.close())
  return stores
}

/** What the gateway was not allowed to do since the last look. */
async function denials(): Promise<string[]> {
  const log = await eye.call('ACL', 'LOG')
  await eye.call('ACL', 'LOG', 'RESET')
  return Array.isArray(log) ? log.map((entry) => JSON.stringify(entry)) : []
}

const NAME = 'redis as the user of the manual'
await grant('*')
const open = async (test: Owner) => {
  const place = { dbDir: await folder(test), redisPrefix: randomUUID(), redis: address }
  let stores = await openAs(test, place.redisPrefix)
  const reopen = async () => {
    await stores.close()
    stores = await openAs(test, place.redisPrefix)
    return stores.tokens
  }
  return { store: stores.tokens, reopen, books: () => readBooks(place) }
}
tokensContract(NAME, open)
accountsContract(NAME, open)
placesContract(NAME, open)
answerMarksContract(NAME, open)
idempotencyContract(NAME, async (test) => {
  const prefix = randomUUID()
  const proxy = await startProxy(test, redis.port)
  const stores = await openAs(test, prefix, proxy.port)
  const reopen = async () => {
    await stores.close()
    return openAs(test, prefix)
  }
  const crash = async () => {
    proxy.set('silent')
    const after = await openAs(test, prefix)
    while ((await eye.zcard(`{${prefix}}:replicas`)) > 1) await wait(20)
    return after
  }
  return { ...stores, reopen, crash }
})

t.test('limits, a move to files and back, and a copy that must be waited for', async (test) => {
  const prefix = randomUUID()
  await startRedis(test, ['--replicaof', '127.0.0.1', String(redis.port)])
  do await eye.incr('waited')
  while ((await eye.wait(1, 1_000)) < 1)
  const stores = await openAs(test, prefix)
  const { id } = await stores.tokens.mint(newToken(100))
  test.match(await stores.counts?.count(id, 'minute'), { count: 1 })
  await stores.close()
  const place = { redis: address, redisPrefix: prefix, dbDir: await folder(test) }
  await moveStores('files', { ...place, stamp: 'one' })
  await moveStores('redis', { ...place, stamp: 'two' })
})

t.test('nothing more is needed than the line of the manual says, and it opens nothing else', async (test) => {
  test.match(line, /^ACL SETUSER gateway on >PASSWORD ~\{gateway\}:\* /)
  test.same(await denials(), [], 'nothing was refused in all of the above')
  await grant('gateway')
  const user = new Redis({ port: redis.port, username: 'gateway', password: PASSWORD })
  test.teardown(() => user.disconnect())
  for (const [command = '', ...args] of [
    'KEYS *',
    'FLUSHALL',
    'CONFIG GET *',
    'SHUTDOWN',
    'ACL LIST',
    'CLIENT LIST',
  ].map((text) => text.split(' ')))
    await test.rejects(user.call(command, ...args), { message: /^NOPERM/ }, command)
  await test.rejects(user.get('{other}:meta'), { message: /^NOPERM/ })
  const reads = `return redis.call('GET', '{other}:meta')`
  await test.rejects(user.eval(reads, 0), { message: /NOPERM|ACL failure|can't access/i })
})

t.test('a right that is missing is named, at the start and later', async (test) => {
  await grant('gateway', ['+info'])
  const refused = await openAs(test, 'gateway').catch(String)
  test.match(refused, /NOPERM: its user has no right to the command "info"\. Way out: .*docs\/replicas\.md/)

  const lines: string[] = []
  await grant('gateway')
  const stores = await openStores({
    redis: address,
    dbDir: await folder(test),
    warn: (fields, text) => lines.push(`${text} ${JSON.stringify(fields)}`),
  })
  test.teardown(() => stores.close())
  await eye.call('ACL', 'SETUSER', 'gateway', '-@write')
  await test.rejects(
    stores.tokens.mint(newToken(1)),
    { code: 'store_unavailable' },
    'it is no fault of the request',
  )
  test.match(
    lines.join('\n'),
    /^Redis cannot be used: .*NOPERM: its user has no right to a command inside of a/,
  )

  await grant('elsewhere')
  const foreign = await openAs(test, 'gateway').catch(String)
  test.match(foreign, /NOPERM: its user has no right to the keys of REDIS_PREFIX/)
})
