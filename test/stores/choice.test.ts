import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { moveStores } from '../../src/stores/move.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken } from '../contract/token-store.ts'
import { bearer, post } from '../support/client.ts'
import { failGateway, startGateway, temporaryFolder } from '../support/gateway.ts'
import { startRedis } from '../support/redis.ts'
import { folder } from './folders.ts'

t.setTimeout(120_000)
const CHAT = { model: 'demo', messages: [{ role: 'user', content: 'hi' }] }

t.test('a Redis that may throw balances away when it is full is refused', async (test) => {
  const full = ['--maxmemory', '64mb', '--maxmemory-policy']
  const evicting = await startRedis(test, [...full, 'allkeys-lru'])
  const refused = await failGateway(test, { env: { REDIS_URL: evicting.url } })
  test.match(refused, { code: 78, stderr: /maxmemory-policy allkeys-lru\): set it to noeviction/ })
  const keeping = await startRedis(test, [...full, 'noeviction'])
  await (await startGateway(test, { env: { REDIS_URL: keeping.url } })).stop()
})

t.test('a store that was moved is never taken for an empty one where it was before', async (test) => {
  const redis = await startRedis(test)
  const dbDir = await folder(test)
  const [files, shared] = [{}, { REDIS_URL: redis.url }]
  const refusal = async (env: Record<string, string>, dir = dbDir) => {
    const { code, stderr } = await failGateway(test, { dbDir: dir, env })
    return `${code} ${stderr}`
  }
  const wish = newToken(500)
  const before = await openStores({ dbDir })
  const { id } = await before.tokens.mint(wish)
  await before.close()
  test.match(await refusal(shared), /^78 .*Redis holds no store, but .* does: move it/s)

  const options = { dbDir, redis: readRedisUrl(shared, []), redisPrefix: 'gateway' }
  if (options.redis === undefined) throw new Error('there is an address')
  await moveStores('redis', { ...options, redis: options.redis, stamp: 'first' })
  test.match(await refusal(files), /^78 .*is in Redis .*: set REDIS_URL, or move it here/s)
  await test.rejects(openStores({ dbDir }), { message: /is in Redis/ }, 'nor does a command make a new one')

  await moveStores('files', { ...options, redis: options.redis, stamp: 'second' })
  test.match(await refusal(shared), /^78 .*Redis holds no store, but .* does: move it/s)
  test.match(await refusal(shared, await folder(test)), /^78 .*was moved to files \(second\)/s)
  const after = await openStores({ dbDir })
  test.teardown(() => after.close())
  test.match(await after.tokens.find(wish.hash), { id })
})

/** The addresses of all that a gateway has loaded from its start to its end, one paid request included. */
async function loadedBy(test: Test, env: Record<string, string>): Promise<string> {
  const MODULE_LOG = join(temporaryFolder(test), 'modules')
  const hook = pathToFileURL(join(import.meta.dirname, '..', 'support', 'module-log.ts')).href
  const gateway = await startGateway(test, { env: { ...env, MODULE_LOG, NODE_OPTIONS: `--import ${hook}` } })
  const answer = await post(gateway, '/v1/chat/completions', CHAT, bearer(gateway.masterToken))
  test.equal(answer.status, 200)
  await gateway.stop()
  return readFileSync(MODULE_LOG, 'utf8')
}

t.test('with files nothing is loaded that only Redis or PostgreSQL need', async (test) => {
  const withFiles = await loadedBy(test, {})
  test.match(withFiles, /\/node_modules\/lowdb\//)
  test.notMatch(withFiles, /\/node_modules\/(ioredis|kysely|pg)\//)
  const withRedis = await loadedBy(test, { REDIS_URL: (await startRedis(test)).url })
  for (const name of ['ioredis', 'kysely']) test.match(withRedis, `/node_modules/${name}/`)
  test.notMatch(withRedis, /\/node_modules\/(lowdb|pg)\//)
})
