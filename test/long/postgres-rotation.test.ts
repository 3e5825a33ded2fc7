import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Database } from '../../src/stores/sql/database.ts'
import { openPostgresAnswers } from '../../src/stores/sql/postgres-answers.ts'
import { PostgresPool } from '../../src/stores/sql/postgres-pool.ts'
import { openPostgresUsage } from '../../src/stores/sql/postgres-usage.ts'
import { usageOf } from '../contract/token-store.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'

t.setTimeout(60_000)

const LIMITS = { answerBytes: 1_000_000, answerBytesPerToken: 1_000_000 }

/** From now on who comes as "app" needs a password. */
async function wantPassword(postgres: TestPostgres, password: string): Promise<void> {
  await postgres.query(`CREATE ROLE app LOGIN PASSWORD '${password}'`)
  await postgres.query('GRANT ALL ON SCHEMA public TO app')
  const [row] = await postgres.query('SHOW hba_file')
  const rules = ['host all app 127.0.0.1/32 scram-sha-256', 'host all gw 127.0.0.1/32 trust']
  writeFileSync(row?.hba_file ?? '', `${rules.join('\n')}\n`)
  await postgres.query('SELECT pg_reload_conf()')
}

function databaseAt(url: string) {
  const lines: string[] = []
  let refusals = 0
  const database = new Database(
    url,
    (fields, text) => lines.push(`${text} ${JSON.stringify(fields)}`),
    () => {
      refusals += 1
    },
  )
  return { database, lines, refusals: () => refusals }
}

const entry = () => ({ key: randomUUID(), chargedMicros: 5, row: usageOf('t', 5) })

async function rowsOf(postgres: TestPostgres): Promise<number> {
  const [row] = await postgres.query('SELECT count(*) AS rows FROM usage')
  return Number(row?.rows)
}

t.test('another password of the database is used from the next connection on', async (test: Test) => {
  const postgres = await startPostgres(test)
  await wantPassword(postgres, 'old-password-1')
  const urlOf = (password: string) => postgres.url.replace('gw@', `app:${password}@`)
  const { database, lines, refusals } = databaseAt(urlOf('old-password-1'))
  const log = await openPostgresUsage(database)
  const answers = openPostgresAnswers(database, LIMITS)
  test.teardown(async () => {
    await log.close()
    await answers.close()
  })
  await log.write([entry()])
  const id = await answers.keep('t', Buffer.from('kept'))
  await postgres.query("ALTER ROLE app PASSWORD 'new-password-2'")
  await log.write([entry()])
  await postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
  // The first finds out that its connection is gone.
  await log.write([entry()]).catch(() => undefined)
  await test.rejects(log.write([entry()]), { code: '28P01' })
  await test.rejects(answers.read(id ?? ''))
  test.ok(refusals() > 0)
  test.match(lines.join('\n'), /PostgreSQL cannot be used: .*"28P01: it refuses this user or password"/)

  database.url = urlOf('new-password-2')
  const before = await rowsOf(postgres)
  await log.write([entry()])
  test.equal(await rowsOf(postgres), before + 1)
  test.equal(String(await answers.read(id ?? '')), 'kept')
  test.match(lines.at(-1), 'PostgreSQL answers again')
  test.notMatch(lines.join('\n'), /-password-/)
  test.ok(lines.length <= 4, lines.join('\n'))
})

t.test('a database that moved is written where it is now', async (test) => {
  const [first, second] = [await startPostgres(test), await startPostgres(test)]
  const { database } = databaseAt(first.url)
  const log = await openPostgresUsage(database)
  test.teardown(() => log.close())
  await log.write([entry()])
  await (await openPostgresUsage(new Database(second.url))).close()
  database.url = second.url
  await log.write([entry(), entry()])
  test.same([await rowsOf(first), await rowsOf(second)], [1, 2])
})

t.test('large answers are kept in a database that was empty when it became ours', async (test) => {
  const [first, second] = [await startPostgres(test), await startPostgres(test)]
  const { database } = databaseAt(first.url)
  const answers = openPostgresAnswers(database, LIMITS)
  test.teardown(() => answers.close())
  const before = (await answers.keep('t', Buffer.from('before'))) ?? ''
  database.url = second.url
  test.equal(await answers.read(before), undefined, 'gone, and nobody is told to ask again')
  const after = await answers.keep('t', Buffer.from('after'))
  test.equal(String(await answers.read(after ?? '')), 'after')
})

t.test('a connection that is ended while it is used ends nothing else', async (test) => {
  const postgres = await startPostgres(test)
  const pool = new PostgresPool(new Database(postgres.url), {})
  test.teardown(() => pool.end())
  for (const text of ['SELECT pg_sleep(10)', 'SELECT 1']) {
    const client = await pool.connect()
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
    const isLong = text !== 'SELECT 1'
    const running = isLong ? test.rejects(client.query(text)) : undefined
    await postgres.query(`SELECT pg_terminate_backend(${rows[0].pid})`)
    await running
    await wait(200)
    if (!isLong) await test.rejects(client.query(text))
    client.release(true)
  }
  const client = await pool.connect()
  test.match(await client.query('SELECT 1 AS one'), { rows: [{ one: 1 }] })
  client.release()
})

t.test('what PostgreSQL refuses is told in words and with a way out', async (test) => {
  const postgres = await startPostgres(test)
  const reasonAt = async (url: string): Promise<string> => {
    const { database, lines } = databaseAt(url)
    await test.rejects(openPostgresUsage(database))
    return lines.join('\n')
  }
  const at = (change: (url: URL) => void): string => {
    const url = new URL(postgres.url)
    change(url)
    return url.href
  }
  test.match(
    await reasonAt(at((url) => (url.pathname = '/nothing'))),
    /3D000: there is no database .*mend DATABASE_URL/,
  )
  await postgres.query('CREATE ROLE app LOGIN')
  test.match(await reasonAt(at((url) => (url.username = 'app'))), /42501: its user may not do that.*GRANT/)
  test.match(await reasonAt(at((url) => (url.port = '1'))), /refused: nothing listens there/)
  test.match(
    await reasonAt(at((url) => (url.hostname = 'no-such-host.invalid'))),
    /host name does not exist|DNS gives no/,
  )
  test.match(await reasonAt(`${postgres.url}?sslmode=require`), /it speaks no TLS.*sslmode/)
  test.match(await reasonAt('postgres://app:a#b@host/db'), /DATABASE_URL cannot be read|host name|DNS/)
  await wantPasswordOf(postgres)
  test.match(await reasonAt(at((url) => (url.username = 'app'))), /wants a password|28P01/)
  await postgres.query('ALTER ROLE app CONNECTION LIMIT 0')
  const full = at((url) => {
    url.username = 'app'
    url.password = 'secret-word-1'
  })
  test.match(await reasonAt(full), /53300: it takes no more connections/)
  test.notMatch(await reasonAt(full), 'secret-word-1')
})

async function wantPasswordOf(postgres: TestPostgres): Promise<void> {
  await postgres.query('DROP ROLE app')
  await wantPassword(postgres, 'secret-word-1')
}
