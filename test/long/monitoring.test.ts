import { spawnSync } from 'node:child_process'
import { mkdirSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { json } from '../support/behaviour.ts'
import { startCheckedService } from '../support/checked-service.ts'
import { bearer, get, openStream, post } from '../support/client.ts'
import { resetBeforeAnswer } from '../support/faults.ts'
import { mintToken, startGateway, type TestGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { boardQuestions, deployed, hurriedAlerts, startPrometheus } from '../support/prometheus.ts'
import { startProvider } from '../support/provider.ts'
import { fillRedis, startRedis } from '../support/redis.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const KEY = 'a-key-for-prometheus'
const ask = (model: string, stream = false) => ({
  model,
  stream,
  max_tokens: 20,
  messages: [{ role: 'user', content: 'hello there' }],
})
const usage = { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 }
const paid = json({ id: 'one', choices: [{ index: 0, message: { content: 'hi' } }], usage })

const unreported = json({ id: 'x', choices: [{ index: 0, message: { content: 'no usage' } }] })

const missing = ['prometheus', 'promtool'].find((name) => spawnSync('which', [name]).status !== 0)
if (missing !== undefined) t.fail(`no ${missing} found: apt-get install prometheus`)

t.test('the rules and the configuration are what promtool takes, and fire as they are meant', async (t) => {
  const dir = temporaryFolder(t, 'gw-rules-')
  for (const name of ['alerts.yml', 'alerts.test.yml', 'prometheus.yml'])
    writeFileSync(join(dir, name), deployed(`prometheus/${name}`))
  for (const args of [
    ['check', 'rules', 'alerts.yml'],
    ['check', 'config', '--syntax-only', 'prometheus.yml'],
    ['test', 'rules', 'alerts.test.yml'],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: dir, encoding: 'utf8' })
    t.equal(status, 0, `${stdout}${stderr}`)
  }
  const named = (text: string) => Array.from(text.matchAll(/^ +- alert: (\w+)$/gm), ([, name]) => name)
  const tested = deployed('prometheus/alerts.test.yml')
  for (const name of named(deployed('prometheus/alerts.yml')))
    t.match(tested, new RegExp(`alertname(: |=")${name}`), `${name} has a test of its rule`)
})

/** Three services: two are looked at, the third is asked all the time. */
async function startServices(t: Test) {
  const [users, jobs, otherJobs, asked] = await Promise.all([
    startCheckedService(t, 'users'),
    startCheckedService(t, 'jobs'),
    startCheckedService(t, 'other jobs'),
    startCheckedService(t, 'asked'),
  ])
  const health = { path: '/health', everyMs: 500, timeoutMs: 400, failures: 2, successes: 1 }
  const routes = {
    '/api/users': { name: 'users', to: users.origin, health },
    '/api/jobs': { name: 'jobs', to: [jobs.origin, otherJobs.origin], health },
    '/api/asked': { name: 'asked', to: asked.origin, auth: 'open' },
  }
  return { users, jobs, asked, routes }
}

/** Two gateways, on files and on Redis, both watched as the production file has it, every second. */
async function openWatched(t: Test) {
  const redis = await startRedis(t, ['--maxmemory', '16mb', '--maxmemory-policy', 'noeviction'])
  const [one, two] = [await startProvider(t), await startProvider(t)]
  for (const provider of [one, two]) provider.answer(paid)
  const { routes, ...services } = await startServices(t)
  const path = modelsFile(t, {
    services: routes,
    providers: {
      one: { baseUrl: one.url, keyEnv: 'ONE_TEST_KEY', allowInsecure: true },
      two: { baseUrl: two.url, keyEnv: 'TWO_TEST_KEY', allowInsecure: true },
    },
    models: {
      m: { plan: [{ provider: 'one' }, { provider: 'two' }] },
      alone: { plan: [{ provider: 'two' }] },
    },
  })
  const env = {
    ...providerKeys('one', 'two'),
    METRICS_KEY: KEY,
    RATE_LIMIT_PER_MINUTE: '1000000',
    USAGE_QUEUE_ROWS: '1',
    SERVICE_REQUESTS_PER_MINUTE: '1000000',
  }
  const dbDir = join(temporaryFolder(t, 'gw-disk-'), 'db')
  mkdirSync(dbDir)
  // A disk of its own, so that it can be filled.
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', dbDir]).status === 0
  if (mounted) t.teardown(() => spawnSync('umount', ['-l', dbDir]))
  const files = await startGateway(t, { modelsFile: path, dbDir, env })
  const shared = { ...env, REDIS_URL: redis.url, DATABASE_URL: 'postgres://nobody:x@127.0.0.1:1/none' }
  const replica = await startGateway(t, { modelsFile: path, env: shared })
  const dir = temporaryFolder(t, 'gw-prometheus-')
  const watch = (...gateways: TestGateway[]) =>
    writeFileSync(
      join(dir, 'gateways.json'),
      JSON.stringify(gateways.map(({ port }) => ({ targets: [`127.0.0.1:${port}`] }))),
    )
  watch(files, replica)
  writeFileSync(join(dir, 'metrics-key'), KEY)
  writeFileSync(join(dir, 'alerts.yml'), hurriedAlerts())
  writeFileSync(
    join(dir, 'prometheus.yml'),
    deployed('prometheus/prometheus.yml')
      .replaceAll('/run/monitoring/', `${dir}/`)
      .replaceAll('15s', '1s')
      // Both are on one address here.
      .replace('"([^:]+):.*"', '"(.*)"'),
  )
  const prometheus = await startPrometheus(t, dir)
  const tokens = [await mintToken(t, files), await mintToken(t, files)]
  const onRedis = await mintToken(t, { dbDir: replica.dbDir, env: shared })
  return { redis, one, two, services, files, replica, tokens, onRedis, watch, mounted, ...prometheus }
}

interface Payer {
  gateway: TestGateway
  token: string
}

/** A request of each every tenth of a second, and one for a service, whatever becomes of the one before. */
function startTraffic(t: Test, payers: readonly Payer[]): { stop(): void } {
  const one = ({ gateway, token }: Payer) => {
    void post(gateway, CHAT, ask('m'), bearer(token)).catch(() => undefined)
    void get(gateway, '/api/asked').catch(() => undefined)
  }
  const timer = setInterval(() => payers.forEach(one), 100)
  const stop = () => clearInterval(timer)
  t.teardown(stop)
  return { stop }
}

t.test(
  'the real Prometheus has an answer for every panel, and each alert fires once for its cause',
  async (t) => {
    const {
      redis,
      one,
      two,
      services: { users, jobs, asked },
      files,
      replica,
      tokens,
      onRedis,
      watch,
      mounted,
      ask: query,
    } = await openWatched(t)
    const firing = async (name: string) =>
      (await query(`ALERTS{alertname="${name}",alertstate="firing"}`))?.map(({ metric }) => metric)
    const fires = async (name: string, labels: object = {}) => {
      const seen = await waitUntil(
        () => firing(name),
        (found) => (found?.length ?? 0) > 0,
      )
      t.equal(seen?.length, 1, `${name} fires once`)
      t.match(seen?.[0], labels, name)
    }
    const ends = (name: string) =>
      waitUntil(
        () => firing(name),
        (found) => found?.length === 0,
      )
    await waitUntil(
      () => query('count(gateway_ready == 1)'),
      (found) => found?.[0]?.value[1] === '2',
    )
    const others = () => query('ALERTS{alertname!="EdgeDown"}')
    t.same(await waitUntil(others, (found) => found?.length === 0), [], 'all is well')

    const traffic = startTraffic(t, [
      ...tokens.map((token) => ({ gateway: files, token })),
      { gateway: replica, token: onRedis },
    ])
    // Seen at nought once, so that a rate sees it grow.
    for (const provider of [one, two]) provider.queue(resetBeforeAnswer(), resetBeforeAnswer(), unreported)
    await sleep(3000)
    for (const provider of [one, two]) provider.queue(resetBeforeAnswer(), resetBeforeAnswer(), unreported)
    asked.mood = 'flaky'
    for (const { title, expression } of boardQuestions()) {
      if (/traefik_|haproxy_/.test(expression)) continue
      const found = await waitUntil(
        () => query(expression),
        (series) => (series?.length ?? 0) > 0,
      ).catch(() => undefined)
      t.ok(
        found?.some(({ value }) => Number.isFinite(Number(value[1]))),
        `${title}: ${expression}`,
      )
    }

    await fires('ServiceErrors', { route: 'asked' })
    asked.mood = 'well'
    await ends('ServiceErrors')
    jobs.mood = 'failing'
    await fires('ServiceTargetDown', { route: 'jobs', target: jobs.origin })
    await users.stop()
    await fires('ServiceDown', { route: 'users' })
    await users.start()
    await ends('ServiceDown')

    await fires('UsageRowsLost')
    one.answer(resetBeforeAnswer())
    await fires('ProviderDown', { provider: 'one' })
    two.answer(resetBeforeAnswer())
    await fires('ServerErrors')
    one.answer(paid)
    two.answer(paid)

    await fillRedis(redis.port, 0.9)
    await fires('RedisNearlyFull')

    if (mounted) {
      const { bavail, blocks, bsize } = statfsSync(files.dbDir)
      writeFileSync(join(files.dbDir, 'filler'), Buffer.alloc((bavail - Math.round(blocks * 0.07)) * bsize))
      await fires('DiskNearlyFull', { instance: `127.0.0.1:${files.port}` })
      writeFileSync(join(files.dbDir, 'filler'), '')
      await ends('DiskNearlyFull')
    } else t.comment('no right to mount a disk here: a full one is not tested')

    const stalling = (async () => {
      for (let n = 0; n < 14; n++) {
        files.signal('SIGSTOP')
        await sleep(700)
        files.signal('SIGCONT')
        await sleep(300)
      }
    })()
    await fires('EventLoopStalls', { instance: `127.0.0.1:${files.port}` })
    await stalling

    const slow = controlled()
    one.answer((seen) => (seen.json().stream === true ? slow : paid))
    const opening = openStream(replica, { path: CHAT, headers: bearer(onRedis), body: ask('m', true) })
    await slow.opened
    await slow.write('data: {"choices":[{"index":0,"delta":{"content":"some words"}}]}\n\n')
    const stream = await opening
    redis.signal('SIGSTOP')
    await slow.write('data: [DONE]\n\n')
    await slow.end()
    await stream.rest()
    await fires('UnsettledBills', { instance: `127.0.0.1:${replica.port}` })
    await fires('GatewayNotReady', { instance: `127.0.0.1:${replica.port}` })
    redis.signal('SIGCONT')
    await ends('UnsettledBills')
    await ends('GatewayNotReady')

    traffic.stop()
    await files.kill9()
    await fires('GatewayNotReady', { instance: `127.0.0.1:${files.port}` })
    watch()
    await fires('NoGateway')
  },
)
