import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { bearer, get, post } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { fillRedis, startRedis } from '../support/redis.ts'
import { ask, openScene } from '../support/scene.ts'

const CHAT = '/v1/chat/completions'

/** The requests whose answers stand in the database of keys. */
function keptIds({ dbDir }: { dbDir: string }): string[] {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  try {
    return db
      .prepare('SELECT request_id FROM claims WHERE bytes > 0')
      .all()
      .map((row) => String(row.request_id))
  } finally {
    db.close()
  }
}

t.test(
  'a large answer comes again byte for byte after kill -9; one that had to make room is 409',
  async (test) => {
    const { provider, options } = await openScene(test)
    const env = { ...options.env, IDEMPOTENCY_BYTES_PER_TOKEN: '2500000' }
    const gateway = await startGateway(test, { ...options, env })
    const token = await mintToken(test, gateway)
    const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()]
    const send = (port: { port: number }, key: string) =>
      post(port, CHAT, ask(false), { ...bearer(token), 'idempotency-key': key })
    provider.queue(...['a', 'b', 'c'].map((letter) => chat({ content: letter.repeat(900_000) })))
    const answers = [await send(gateway, first), await send(gateway, second), await send(gateway, third)]
    test.ok(answers.every(({ status }) => status === 200))
    // What is charged is written with it; a large answer goes to a file first, and is known of once that is written.
    await post(gateway, CHAT, ask(false), bearer(token))
    await waitUntil(
      () => keptIds(gateway),
      (kept) => kept.includes(String(answers[2]?.headers['x-request-id'])) && kept.length === 2,
    )
    await gateway.kill9()
    const next = await startGateway(test, { ...options, env })
    const again = await send(next, third)
    test.match(again, { status: 200, headers: { 'idempotent-replayed': 'true' } })
    test.ok(answers[2]?.body.equals(again.body))
    const over = await send(next, first)
    test.match(over, { status: 409, headers: { 'x-should-retry': 'false' } })
    test.match(over.json(), { error: { code: 'idempotency_conflict', message: /over and charged/ } })
    test.equal(provider.requests.length, 4, 'nobody was asked again')
    test.equal(readRows(next).length, 4)
  },
)

t.test(
  'a token with too many keys is refused a new one before a provider is asked, and told when',
  async (test) => {
    const { provider, options } = await openScene(test)
    const env = { ...options.env, IDEMPOTENCY_KEYS_PER_TOKEN: '2' }
    const gateway = await startGateway(test, { ...options, env })
    const [token, other] = [await mintToken(test, gateway), await mintToken(test, gateway, { user: 'other' })]
    const send = (secret: string, key: string) =>
      post(gateway, CHAT, ask(false), { ...bearer(secret), 'idempotency-key': key })
    const [first, second] = [randomUUID(), randomUUID()]
    for (const key of [first, second]) test.equal((await send(token, key)).status, 200)
    const refused = await send(token, randomUUID())
    test.match(refused, { status: 429, headers: { 'x-should-retry': 'true' } })
    test.ok(Number(refused.headers['retry-after']) > 3600)
    test.match(refused.json(), {
      error: { code: 'too_many_idempotency_keys', type: 'rate_limit_error', message: /send without one/ },
    })
    test.equal(provider.requests.length, 2)
    test.match(await send(token, first), { status: 200, headers: { 'idempotent-replayed': 'true' } })
    test.equal((await post(gateway, CHAT, ask(false), bearer(token))).status, 200, 'without a key it goes on')
    test.equal((await send(other, randomUUID())).status, 200, 'and others with theirs')
    const files = [gateway.dbDir, gateway.logDir].flatMap((folder) =>
      readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()),
    )
    test.ok(files.length > 3)
    for (const { parentPath, name } of files)
      test.notOk(readFileSync(join(parentPath, name)).includes(first), `${name} holds no key of a client`)
    test.notOk(gateway.stdout().includes(first), 'nor does the log')
  },
)

t.test('a Redis that fills up is told on /ready and /metrics, and paid requests go on', async (test) => {
  const redis = await startRedis(test, ['--maxmemory', '12mb', '--maxmemory-policy', 'noeviction'])
  const { options } = await openScene(test)
  const env = { ...options.env, REDIS_URL: redis.url }
  const gateway = await startGateway(test, { ...options, env })
  const token = await mintToken(test, { dbDir: gateway.dbDir, env: { REDIS_URL: redis.url } })
  const send = (key?: string) =>
    post(gateway, CHAT, ask(false), { ...bearer(token), ...(key ? { 'idempotency-key': key } : {}) })
  const ready = async () => {
    const { status, text } = await get(gateway, '/ready')
    return { status, redisMemory: String(JSON.parse(text).redisMemory) }
  }
  test.match(await ready(), { redisMemory: 'ok' })
  for (const [share, state] of [
    [0.9, 'high'],
    [1.05, 'full'],
  ] as const) {
    await fillRedis(redis.port, share)
    const seen = await waitUntil(ready, ({ redisMemory }) => redisMemory === state)
    test.equal(seen.status, 200)
    test.equal((await send()).status, 200, 'a paid request')
    const key = randomUUID()
    const keyed = await send(key)
    if (state === 'full')
      test.match(keyed.json(), { error: { code: 'store_unavailable', message: /send without one/ } })
    else test.same([keyed.status, (await send(key)).status], [200, 409], 'the answer is not kept')
  }
  const metrics = (await get(gateway, '/metrics', bearer(gateway.masterToken))).text
  test.match(metrics, /^gateway_redis_limit_bytes 12582912$/m)
  test.ok(Number(/^gateway_redis_used_bytes (\d+)$/m.exec(metrics)?.[1]) > 12_000_000)
  test.match(metrics, /^gateway_ready 1$/m)
  await gateway.waitForLine(({ level, msg }) => level === 'warn' && msg.startsWith('Redis is full'))
})
