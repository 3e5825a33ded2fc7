import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { bearer, get, post } from '../support/client.ts'
import { failGateway, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { unusedPort } from '../support/ports.ts'
import { startPostgres } from '../support/postgres.ts'
import { startRedis } from '../support/redis.ts'

t.setTimeout(120_000)
const CHAT = '/v1/chat/completions'
const OLD = 'old-password-1'
const NEW = 'new-password-2'

t.test('passwords of Redis and PostgreSQL change under a gateway that goes on', async (test) => {
  const redis = await startRedis(test, ['--requirepass', OLD])
  const postgres = await startPostgres(test)
  await postgres.query(`CREATE ROLE app LOGIN PASSWORD '${OLD}'`)
  await postgres.query('GRANT ALL ON SCHEMA public TO app')
  const [row] = await postgres.query('SHOW hba_file')
  const rules = ['host all app 127.0.0.1/32 scram-sha-256', 'host all gw 127.0.0.1/32 trust']
  writeFileSync(row?.hba_file ?? '', `${rules.join('\n')}\n`)
  await postgres.query('SELECT pg_reload_conf()')
  const folder = temporaryFolder(test)
  const [redisFile, databaseFile] = [join(folder, 'redis'), join(folder, 'database')]
  const write = (password: string) => {
    writeFileSync(redisFile, `redis://:${password}@127.0.0.1:${redis.port}`)
    writeFileSync(databaseFile, postgres.url.replace('gw@', `app:${password}@`))
  }
  write(OLD)
  const gateway = await startGateway(test, {
    env: { REDIS_URL_FILE: redisFile, DATABASE_URL_FILE: databaseFile, RATE_LIMIT_PER_MINUTE: '100000' },
  })
  const master = bearer(gateway.masterToken)
  const ask = async () => {
    const reply = await post(
      gateway,
      CHAT,
      { model: 'demo', messages: [{ role: 'user', content: 'a' }] },
      master,
    )
    return reply.status
  }
  /** The table comes with the first row. */
  const rows = async () => {
    const found = await postgres.query('SELECT count(*) AS rows FROM usage').catch(() => [])
    return Number(found[0]?.rows ?? 0)
  }
  test.equal(await ask(), 200)
  await waitUntil(rows, (count) => count === 1)

  const eye = new Redis(redis.port, { password: OLD })
  test.teardown(() => eye.disconnect())
  await eye.config('SET', 'requirepass', NEW)
  await postgres.query(`ALTER ROLE app PASSWORD '${NEW}'`)
  await postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
  await eye.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await gateway.waitForLine(({ reason }) => /^WRONGPASS/.test(String(reason)))
  write(NEW)
  await waitUntil(ask, (status) => status === 200)
  await waitUntil(rows, (count) => count === 2)
  await gateway.waitForLine(({ msg }) => /^Redis is used as REDIS_URL says now/.test(msg))
  writeFileSync(redisFile, 'http://this-is-no-redis')
  await gateway.waitForLine(({ mistake }) => /REDIS_URL/.test(String(mistake)))
  test.equal((await get(gateway, '/ready')).status, 200)
  await gateway.stop()
  for (const secret of [OLD, NEW, 'this-is-no-redis'])
    test.notMatch(gateway.stdout() + gateway.stderr(), secret)
  test.notMatch(gateway.stdout() + gateway.stderr(), /ReplyError|node_modules/, 'no bare stack')
})

t.test(
  'a start that Redis refuses says why in one line, and whether another start may help',
  async (test) => {
    const redis = await startRedis(test, ['--requirepass', OLD])
    const full = await startRedis(test, ['--maxclients', '1'])
    const holder = new Redis(full.port)
    test.teardown(() => holder.disconnect())
    await holder.ping()
    const table: readonly (readonly [string, number, RegExp])[] = [
      [`redis://:wrong-password-3@127.0.0.1:${redis.port}`, 78, /WRONGPASS: .*REDIS_URL_FILE/],
      [`redis://127.0.0.1:${redis.port}`, 78, /NOAUTH: it wants a password\..*redis:\/\/user:password@host/],
      [`redis://127.0.0.1:${await unusedPort()}`, 1, /refused: nothing listens there\..*host and port/],
      ['redis://no-such-host.invalid', 78, /host name does not exist\./],
      [`rediss://127.0.0.1:${redis.port}`, 1, /gives no answer\. .*speaks no TLS/],
      [`redis://127.0.0.1:${full.port}`, 1, /closed the connection\. .*maxclients.*TLS/],
    ]
    await Promise.all(
      table.map(async ([REDIS_URL, code, words]) => {
        const ended = await failGateway(test, { env: { REDIS_URL } })
        test.match(ended, { code, stderr: words }, words.source)
        test.match(ended.stderr, /^Redis cannot be used: [^\n]+\. Way out: [^\n]+\n$/, 'one line')
        test.notMatch(ended.stderr, 'wrong-password')
      }),
    )
  },
)
