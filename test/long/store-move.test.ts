import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { bearer, credits, get, post } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { bareEnv, runProcess } from '../support/process.ts'
import { startProvider } from '../support/provider.ts'
import { startRedis } from '../support/redis.ts'

t.setTimeout(300_000)
const SCRIPTS = join(import.meta.dirname, '..', '..', 'scripts')
const CHAT = { model: 'm', max_tokens: 50, messages: [{ role: 'user', content: 'hi' }] }

t.test('a deployment moves from files to Redis and back with every token and credit', async (test) => {
  const redis = await startRedis(test)
  const provider = await startProvider(test)
  const path = modelsFile(test, { providers: { main: provider.url }, models: { m: 'main' } })
  const dbDir = join(temporaryFolder(test), 'db')
  const [files, shared] = [providerKeys('main'), { ...providerKeys('main'), REDIS_URL: redis.url }]
  const run = (name: string, args: string[], env: Record<string, string> = {}) =>
    runProcess(test, {
      args: [join(SCRIPTS, `${name}.js`), ...args],
      env: { ...bareEnv(), DB_DIR: dbDir, REDIS_URL: redis.url, ...env },
      cwd: temporaryFolder(test),
    })
  const start = (env: Record<string, string>) => startGateway(test, { modelsFile: path, env, dbDir })

  const first = await start(files)
  const token = await mintToken(test, first, { credits: 1000, name: 'laptop', services: 'users,/api/a' })
  test.equal((await post(first, '/v1/chat/completions', CHAT, bearer(token))).status, 200)
  const before = await credits(first, token)
  const refused = await run('store-move', ['--to', 'redis'])
  test.match([refused.code, refused.stderr], [1, /Another server uses DB_DIR/])
  await first.stop()

  await test.test(
    'a move that was cut off is no store: servers refuse it, and it is made again',
    async (test) => {
      const client = new Redis(redis.port)
      test.teardown(() => client.disconnect())
      await client.hset('{gateway}:meta', 'moving', 'yesterday')
      await client.hset('{gateway}:tokens', 'tok_half', '{}')
      const refusal = await start(shared).catch(String)
      test.match(refusal, /did not come to its end \(yesterday\): run .*store-move\.js --to redis.* again/)
      const elsewhere = await startGateway(test, { modelsFile: path, env: shared }).catch(String)
      test.match(elsewhere, /did not come to its end/, 'wherever it runs')
      // As it is when the end comes between the marker and the store.
      writeFileSync(join(dbDir, 'redis-store.json'), '{"storeId":"x"}')
      const without = await start(files).catch(String)
      test.match(without, /set REDIS_URL, or move it here/)
      const books = await run('ledger-check', [], { REDIS_URL: '' })
      test.match([books.code, books.stderr], [1, /set REDIS_URL, or move it here/])
    },
  )

  const there = await run('store-move', ['--to', 'redis'])
  test.match([there.code, there.stdout], [0, /^tokens 2 {2}credited 1000001000/], there.stderr)
  test.ok(
    readdirSync(dbDir).some((name) => /^tokens\.json\.moved-/.test(name)),
    'the source is kept',
  )
  test.equal((await run('store-move', ['--to', 'redis'])).code, 1, 'twice moves nothing')
  const second = await start(shared)
  test.same(await credits(second, token), before)
  test.equal((await post(second, '/v1/chat/completions', CHAT, bearer(token))).status, 200)
  const later = await credits(second, token)
  test.ok(later.charged > before.charged)
  test.match((await run('token-gen', ['--list'])).stdout, / users,\/api\/a +valid/, 'its list came along')
  const live = await run('store-move', ['--to', 'files'])
  test.match([live.code, live.stderr], [1, /stop them first/])
  const check = await run('ledger-check', [])
  test.match([check.code, check.stdout], [0, /credited = balance \+ held \+ charged/], check.stderr)
  await test.test('a wrong book in Redis is exit 1, with what is wrong', async (test) => {
    const client = new Redis(redis.port)
    test.teardown(() => client.disconnect())
    const [account = ''] = await client.keys('{gateway}:account:*')
    const isWrong = async (field: string, text: RegExp) => {
      await client.hincrby(account, field, 1)
      const { code, stderr } = await run('ledger-check', [])
      test.equal(code, 1)
      test.match(stderr, text)
      await client.hincrby(account, field, -1)
    }
    await isWrong('balance', /does not add up/)
    await isWrong('rows', /its usage rows say/)
    await isWrong('held', /1 are held, its holds say 0/)
    test.equal((await run('ledger-check', [])).code, 0)
  })
  await second.stop()

  const back = await run('store-move', ['--to', 'files'])
  test.equal(back.code, 0, back.stderr)
  test.match((await run('token-gen', ['--list'], { REDIS_URL: '' })).stdout, / users,\/api\/a +valid/)
  const third = await start(files)
  test.same(await credits(third, token), later)
  test.equal((await get(third, '/v1/models', bearer(token))).status, 200)
  await third.stop()
  const books = await run('ledger-check', [], { REDIS_URL: '' })
  test.equal(books.code, 0, books.stderr)
  test.match((await run('store-move', ['--to', 'nowhere'])).code, 2)
})

t.test(
  'a Redis that has lost the store, or was left for files, is not taken for an empty one',
  async (test) => {
    const redis = await startRedis(test)
    const dbDir = join(temporaryFolder(test), 'db')
    const gateway = await startGateway(test, { dbDir, env: { REDIS_URL: redis.url } })
    await gateway.stop()
    await redis.kill()
    const empty = await startRedis(test)
    const failed = await startGateway(test, { dbDir, env: { REDIS_URL: empty.url } }).catch(String)
    test.match(failed, /Redis is empty, though this server has worked on one before/)
    test.match(failed, /\\"code\\":78|"code":78/)
  },
)
