import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken } from '../contract/token-store.ts'
import { runTokenGen } from '../support/gateway.ts'
import { startRedis } from '../support/redis.ts'
import { folder } from './folders.ts'

t.setTimeout(120_000)

t.test('what an admin is told a replica of Redis knows, or it is not told', async (test) => {
  const primary = await startRedis(test, ['--repl-diskless-sync-delay', '0'])
  const copy = await startRedis(test, ['--replicaof', '127.0.0.1', String(primary.port)])
  const [head, eye] = [new Redis(primary.port), new Redis(copy.port)]
  test.teardown(() => [head, eye].map((client) => client.disconnect()))
  // Until it has read the first snapshot and follows: then it answers at once.
  for (let ms = 1000; ms > 50; await wait(50)) {
    const from = performance.now()
    await head.set('seen', ms)
    ms = (await head.wait(1, 1000)) === 1 ? performance.now() - from : 1000
  }
  const open = async () => {
    const redis = readRedisUrl({ REDIS_URL: primary.url }, [])
    const stores = await openStores({ redis, dbDir: await folder(test) })
    test.teardown(() => stores.close())
    return stores.tokens
  }
  const [tokens, another] = [await open(), await open()]
  const { id } = await tokens.mint(newToken(1000))
  test.equal(await eye.hexists('{gateway}:tokens', id), 1, 'the moment the mint is acknowledged')

  const operationId = randomUUID()
  const add = (of = tokens) => of.adjust({ operationId, accounts: [id], micros: 500, at: Date.now() })
  const unavailable = { code: 'store_unavailable', statusCode: 503 }
  copy.signal('SIGSTOP')
  await test.rejects(tokens.mint(newToken(1000)), unavailable)
  await test.rejects(add(), unavailable)
  await test.rejects(add(another), unavailable, 'asked again, and elsewhere, it is still without a copy')
  await test.rejects(tokens.disable(id, Date.now()), unavailable)
  test.ok(
    await tokens.hold({ accounts: [id], requestId: 'r', micros: 10, leastMicros: 10 }),
    'requests go on',
  )
  const command = async (...args: string[]) =>
    runTokenGen(test, await folder(test), ['--id', id, '--add', '0.001', ...args], { REDIS_URL: primary.url })
  const unsure = await command()
  const [, again = ''] =
    /Asked again with --id \S+ --operation (\S+) it is made once/.exec(unsure.stderr) ?? []
  test.match([unsure.code, unsure.stdout], [1, ''])
  copy.signal('SIGCONT')
  test.match(await command('--operation', again), { code: 0 })
  await add()
  test.same((await tokens.credits(id)).creditedMicros, 2500, 'each once')
  test.equal(await eye.hget(`{gateway}:account:${id}`, 'credited'), '2500')
})
