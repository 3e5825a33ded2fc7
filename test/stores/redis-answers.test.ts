import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { KEY_MEMORY_MS, SMALL_ANSWER_BYTES } from '../../src/stores/contracts/idempotency.ts'
import { openStores, type StoreSettings } from '../../src/stores/open.ts'
import { buildKeys } from '../../src/stores/redis/keys.ts'
import { forgetAll } from '../../src/stores/redis/old-answers.ts'
import { loadScripts } from '../../src/stores/redis/scripts.ts'
import { answerOf, answerUnder, givenAgain, keptAnswersContract, keyedOf } from '../contract/kept-answers.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { waitUntil } from '../support/journey.ts'
import { startPostgres } from '../support/postgres.ts'
import { fillRedis, startRedis, type TestRedis } from '../support/redis.ts'
import { folder, type Owner } from './folders.ts'

t.setTimeout(240_000)
const [redis, postgres] = [await startRedis(t), await startPostgres(t)]

const eyeOf = (test: Owner, { port }: TestRedis) => {
  const eye = new Redis(port)
  test.teardown(() => eye.disconnect())
  return eye
}
const eye = eyeOf(t, redis)

interface Place extends Partial<StoreSettings> {
  server?: TestRedis
}

const openIn = async (test: Owner, { server = redis, ...rest }: Place = {}) => {
  const settings = {
    dbDir: await folder(test),
    redisPrefix: randomUUID(),
    replicaTimeoutMs: 3_000,
    ...rest,
    redis: readRedisUrl({ REDIS_URL: server.url }, []),
  }
  const open = async () => {
    const stores = await openStores(settings)
    test.teardown(() => stores.close())
    return stores
  }
  const stores = await open()
  const reopen = async () => {
    await stores.close()
    return open()
  }
  return { ...stores, reopen, crash: reopen, open, prefix: settings.redisPrefix }
}

const freshDatabase = async (): Promise<string> => {
  const name = `db_${randomUUID().replaceAll('-', '')}`
  await postgres.query(`CREATE DATABASE ${name}`)
  return postgres.url.replace(/postgres$/, name)
}

const LARGE = SMALL_ANSWER_BYTES + 1
keptAnswersContract('redis, small', { bodyBytes: 1_000, open: openIn })
keptAnswersContract('redis and PostgreSQL, large', {
  bodyBytes: LARGE,
  open: async (test, limits) => openIn(test, { ...limits, databaseUrl: await freshDatabase() }),
})

t.test('without PostgreSQL replicas keep small answers; the key of a larger one stays used', async (test) => {
  const { idempotency } = await openIn(test)
  const [small, large] = [keyedOf('tok_1'), keyedOf('tok_1')]
  const answer = answerOf(SMALL_ANSWER_BYTES)
  await answerUnder(idempotency, small, answer)
  await answerUnder(idempotency, large, answerOf(LARGE))
  test.same(await givenAgain(idempotency, small), answer)
  test.equal(await givenAgain(idempotency, large), undefined)
})

t.test(
  'a large answer is given again by every replica, and refused in passing while PostgreSQL is away',
  async (test) => {
    const database = await startPostgres(test)
    const one = await openIn(test, { databaseUrl: database.url })
    const other = await one.open()
    const [ask, late] = [keyedOf('tok_1'), keyedOf('tok_1')]
    const answer = answerOf(1024 * 1024)
    await answerUnder(one.idempotency, ask, answer)
    test.same((await givenAgain(other.idempotency, ask))?.body, answer.body)
    await database.stop()
    await test.rejects(givenAgain(other.idempotency, ask), { code: 'store_unavailable' })
    await answerUnder(one.idempotency, late, answer)
    await database.start()
    test.equal(await givenAgain(other.idempotency, late), undefined, 'what could not be kept is over')
    test.same((await givenAgain(other.idempotency, ask))?.body, answer.body)
  },
)

t.test(
  'what stands in Redis is gone an hour after its day, and little of it is left beside the answer',
  async (test) => {
    const { idempotency, prefix } = await openIn(test)
    const ask = keyedOf('tok_1')
    await answerUnder(idempotency, ask, answerOf(100))
    const freed = await idempotency.claim(keyedOf('tok_1'))
    if (freed.state === 'claimed') await idempotency.free(freed.id)
    const names = await eye.keys(`{${prefix}}:c*`)
    test.same(names.map((name) => name.split(':')[1]).sort(), ['claim', 'claim-hours'], 'one key is left')
    for (const name of names) {
      const ms = await eye.pttl(name)
      test.ok(ms > KEY_MEMORY_MS && ms <= KEY_MEMORY_MS + 7_200_000, `${name}: ${ms} ms`)
    }
    const hours = await eye.hvals(`{${prefix}}:claim-hours:tok_1`)
    test.same(hours, ['1'], 'the freed one does not count')
  },
)

t.test('answers that have expired no longer count against their token', async (test) => {
  const { idempotency, prefix } = await openIn(test)
  const yesterday = Date.now() - KEY_MEMORY_MS - 2 * 3_600_000
  for (let index = 0; index < 5; index++)
    await answerUnder(idempotency, keyedOf('tok_1', { at: yesterday }), answerOf(1_000))
  await answerUnder(idempotency, keyedOf('tok_1'), answerOf(1_000))
  const total = `{${prefix}}:answer-total`
  const before = Number(await eye.get(total))
  const names = buildKeys(prefix)
  const link = {
    run: (script: { text: string }, touched: readonly string[], args: readonly (string | number)[]) =>
      eye.eval(script.text, touched.length, ...touched, ...args),
    read: <T>(ask: (client: Redis) => Promise<T>) => ask(eye),
    isReady: () => true,
    start: async () => undefined,
    close: () => undefined,
  }
  await forgetAll({ link, keys: names, scripts: loadScripts(), owner: 'test', mostRows: 1 }, Date.now())
  test.equal(Number(await eye.get(total)), before / 6)
  test.equal(Number(await eye.zscore(names.answerSums, 'tok_1')), before / 6)
})

t.test(
  'answers that an older gateway has left in Redis are given again, until memory is short',
  async (test) => {
    const server = await startRedis(test, ['--maxmemory', '12mb', '--maxmemory-policy', 'noeviction'])
    const eye = eyeOf(test, server)
    const { idempotency, prefix } = await openIn(test, { server })
    const [ask, stream] = [keyedOf('tok_1'), keyedOf('tok_1')]
    const answer = answerOf(500_000)
    const { status, headers, body } = answer
    const names = buildKeys(prefix)
    const { hash } = await import('node:crypto')
    const nameOf = (one: typeof ask) => names.claim('tok_1', hash('sha256', one.key))
    const left = (one: typeof ask) => ({
      at: one.at,
      claim: 'dead:1',
      fingerprint: one.fingerprint,
      request: one.requestId,
      owner: 'dead',
      state: 'answered',
    })
    await eye.hset(nameOf(ask), {
      ...left(ask),
      answer: JSON.stringify({ status, headers, body: body.toString('base64') }),
    })
    await eye.hset(nameOf(stream), left(stream))
    test.same(await givenAgain(idempotency, ask), answer)
    test.equal(await givenAgain(idempotency, stream), undefined)
    test.match(await idempotency.claim({ ...ask, fingerprint: 'other' }), { state: 'mismatch' })
    test.ok(await idempotency.isKnown({ ...ask, bodyBytes: 10_000_000 }), 'how long its body was is not said')
    await fillRedis(server.port, 0.99)
    await waitUntil(
      () => givenAgain(idempotency, ask),
      (again) => again === undefined,
    )
  },
)

t.test('a Redis that is nearly full keeps no more answers, and a token has few keys left', async (test) => {
  const server = await startRedis(test, ['--maxmemory', '12mb', '--maxmemory-policy', 'noeviction'])
  const told: string[] = []
  const warn = (_fields: object, text: string) => void told.push(text)
  const { idempotency, redisMemory, tokens } = await openIn(test, { server, warn, keysPerToken: 1_000 })
  const before = keyedOf('tok_1')
  await answerUnder(idempotency, before, answerOf(1_000))
  await fillRedis(server.port, 0.9)
  await waitUntil(
    () => redisMemory?.().state,
    (state) => state === 'high',
  )
  const ask = keyedOf('tok_1')
  await answerUnder(idempotency, ask, answerOf(1_000))
  test.equal(await givenAgain(idempotency, ask), undefined)
  test.ok(await givenAgain(idempotency, before), 'what is kept stays')
  for (let index = 2; index < 10; index++) await answerUnder(idempotency, keyedOf('tok_1'), answerOf(10))
  await test.rejects(idempotency.claim(keyedOf('tok_1')), {
    code: 'store_unavailable',
    message: /send without one/,
  })
  test.match(await idempotency.claim(keyedOf('tok_2')), { state: 'claimed' }, 'others have theirs')
  test.ok(tokens.isReady())
  test.ok(told.some((text) => text.includes('nearly full')))
})

t.test(
  'a Redis that is full refuses new keys and tokens, and goes on with bills, holds and limits',
  async (test) => {
    const server = await startRedis(test, ['--maxmemory', '12mb', '--maxmemory-policy', 'noeviction'])
    const { idempotency, redisMemory, tokens, counts } = await openIn(test, { server })
    const { id } = await tokens.mint(newToken(1_000))
    const asked = keyedOf(id)
    const running = await idempotency.claim(asked)
    await fillRedis(server.port, 1.05)
    await waitUntil(
      () => redisMemory?.().state,
      (state) => state === 'full',
    )
    await test.rejects(eyeOf(test, server).set('one more', '1'), /OOM/, 'it is full')
    await test.rejects(idempotency.claim(keyedOf(id)), { code: 'store_unavailable' })
    await test.rejects(tokens.mint(newToken(5)), { code: 'store_unavailable' })
    for (let index = 0; index < 50; index++) {
      const hold = await tokens.hold({
        accounts: [id],
        requestId: `req_${index}`,
        micros: 10,
        leastMicros: 10,
      })
      tokens.markAnswered(hold?.id ?? 0, 5, usageOf(id, 5))
      test.match(await tokens.settle(hold?.id ?? 0, usageOf(id, 5)), { chargedMicros: 5 })
    }
    await counts?.count(id, 'minute')
    const place = await tokens.enter(id, 1)
    test.ok(place)
    if (place) tokens.leave(place)
    await tokens.adjust({ operationId: randomUUID(), accounts: [id], micros: 500, at: Date.now() })
    if (running.state === 'claimed') await idempotency.finish(running.id, answerOf(1_000))
    test.match(await idempotency.claim({ ...asked, requestId: 'again' }), { state: 'answered' })
    // Longer than a replica may be silent: its beats are heard.
    await new Promise((resolve) => setTimeout(resolve, 3_500))
    test.ok(tokens.isReady(), 'nobody was refused because of it')
    test.match(await tokens.credits(id), { creditedMicros: 1_500, chargedMicros: 250, heldMicros: 0 })
    test.ok(await tokens.revoke(id, Date.now()))
  },
)

t.test('REDIS_MEMORY_BYTES bounds a Redis that has no limit of its own', async (test) => {
  const { idempotency, redisMemory, tokens } = await openIn(test, { redisMemoryBytes: 500_000 })
  const { id } = await tokens.mint(newToken(100))
  await waitUntil(
    () => redisMemory?.(),
    (seen) => seen?.state === 'full' && seen.limitBytes === 500_000,
  )
  await test.rejects(idempotency.claim(keyedOf(id)), { code: 'store_unavailable' })
  const hold = await tokens.hold({ accounts: [id], requestId: 'req_1', micros: 10, leastMicros: 10 })
  test.match(await tokens.settle(hold?.id ?? 0, usageOf(id, 5)), { chargedMicros: 5 })
})
