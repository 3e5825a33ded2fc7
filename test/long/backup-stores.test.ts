import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { bearer, get, post } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { unusedPort } from '../support/ports.ts'
import { bareEnv, runProcess, startProcess } from '../support/process.ts'
import { answers, startRedis } from '../support/redis.ts'
import { ask, openScene } from '../support/scene.ts'
import type { Owner } from '../support/waiting.ts'

const SCRIPTS = join(import.meta.dirname, '..', '..', 'scripts')
const CHAT = '/v1/chat/completions'

const run = (t: Owner, script: string, args: readonly string[], cwd: string) =>
  runProcess(t, { args: [join(SCRIPTS, script), ...args], cwd, env: bareEnv() })

const creditsOf = async (gateway: { port: number }, token: string) =>
  (await get(gateway, '/v1/token', bearer(token))).json().credits

/** A Redis that starts on what lies in the folder, as the one of the production file does. */
async function startRedisOn(t: Owner, dir: string): Promise<string> {
  const port = await unusedPort()
  const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir]
  const args = [...place, '--save', '', '--appendonly', 'yes']
  startProcess(t, { command: 'redis-server', args, cwd: dir, env: bareEnv() })
  await answers(port)
  return `redis://127.0.0.1:${port}`
}

t.test(
  'balances in Redis come back from its dump, under load, and rows of usage are there once',
  async (t) => {
    const redis = await startRedis(t)
    const { path, options } = await openScene(t)
    const cwd = temporaryFolder(t, 'gw-deployed-')
    const dbDir = join(cwd, 'src', 'db')
    const start = (REDIS_URL: string) => {
      writeFileSync(join(cwd, '.env'), `REDIS_URL=${REDIS_URL}\n`)
      return startGateway(t, { cwd, dbDir, modelsFile: path, env: { ...options.env, REDIS_URL } })
    }
    const gateway = await start(redis.url)
    const token = await mintToken(t, { dbDir, env: { REDIS_URL: redis.url } })
    const withKey = { ...bearer(token), 'idempotency-key': 'kept' }
    const kept = await post(gateway, CHAT, ask(false), withKey)
    const statuses: number[] = []
    let isOver = false
    const load = Array.from({ length: 4 }, async () => {
      while (!isOver) statuses.push((await post(gateway, CHAT, ask(false), bearer(token))).status)
    })
    await waitUntil(
      () => statuses.length,
      (count) => count > 20,
    )
    const dump = join(cwd, 'dump.rdb')
    const args = ['-p', String(redis.port), '--rdb', dump]
    const dumped = await runProcess(t, { command: 'redis-cli', args, cwd, env: bareEnv() })
    t.equal(dumped.code, 0, dumped.stderr)
    const made = await run(t, 'backup.js', ['--redis-dump', dump], cwd)
    isOver = true
    await Promise.all(load)
    t.match(made, { code: 0, stderr: /Redis and what lies beside it/ })
    t.same([...new Set(statuses)], [200])
    const after = await creditsOf(gateway, token)
    await gateway.stop()
    await redis.kill()

    const restored = await run(t, 'restore.js', [made.stdout.trim()], cwd)
    t.equal(restored.code, 0, restored.stderr)
    const url = await startRedisOn(t, join(dbDir, 'redis'))
    const again = await start(url)
    const credits = await creditsOf(again, token)
    t.equal(credits.credited, 1_000_000)
    t.ok(credits.charged > 0 && credits.charged <= after.charged, `${credits.charged} of ${after.charged}`)
    t.equal((await post(again, CHAT, ask(false), withKey)).text, kept.text)
    await again.stop()
    t.match(await run(t, 'ledger-check.js', [], cwd), { code: 0 })
    await isCarriedOnce(t, dbDir)
    writeFileSync(dump, 'REDIS0011 and cut')
    t.match(await run(t, 'backup.js', ['--redis-dump', dump], cwd), {
      code: 1,
      stderr: /no whole dump of Redis/,
    })
  },
)

/** The dump is older than the table of usage: what both hold is one row all the same. */
async function isCarriedOnce(t: Test, dbDir: string) {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  const counts = 'SELECT count(*) AS rows, count(DISTINCT request_id) AS requests FROM usage'
  const { rows, requests } = db.prepare(counts).get() ?? {}
  db.close()
  t.equal(rows, requests)
  t.ok(Number(rows) > 20, `${rows} rows`)
}

t.test('on a full disk nothing is called a backup, and the next one finds its room', async (t) => {
  const { options } = await openScene(t)
  const cwd = temporaryFolder(t, 'gw-deployed-')
  const dbDir = join(cwd, 'src', 'db')
  const gateway = await startGateway(t, { ...options, cwd, dbDir })
  await gateway.stop()
  const shelf = join(cwd, 'backups')
  mkdirSync(shelf)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', shelf]).status !== 0)
    return t.comment('no right to mount a disk here: a full one is not tested')
  t.teardown(() => spawnSync('umount', ['-l', shelf]))
  const first = await run(t, 'backup.js', [], cwd)
  t.equal(first.code, 0, first.stderr)
  for (let n = 0; n < 32; n++)
    writeFileSync(join(dbDir, 'large.bin'), crypto.getRandomValues(new Uint8Array(60_000)), { flag: 'a' })
  t.match(await run(t, 'backup.js', ['--keep', '1'], cwd), {
    code: 1,
    stderr: /is full: nothing was written/,
  })
  t.same(
    readdirSync(shelf).map((name) => join(shelf, name)),
    [first.stdout.trim()],
    'the one of before is still there, alone',
  )
  spawnSync('mount', ['-o', 'remount,size=16m', shelf])
  t.match(await run(t, 'backup.js', ['--keep', '1'], cwd), { code: 0 })
  t.equal(readdirSync(shelf).length, 1)
})
