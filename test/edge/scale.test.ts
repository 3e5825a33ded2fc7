import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readSettings } from '../../src/config/env/settings.ts'
import { bearer } from '../support/client.ts'
import { DOMAINS, untilHealthy } from './support/deployment.ts'
import { openEdge, untilCertified, untilServing } from './support/edge.ts'
import { whyNoEngine } from './support/engine.ts'
import { startLoad } from './support/load.ts'
import { output, run } from './support/shell.ts'

const REDIS_URL = 'redis://redis:6379'
/** Answers before, during and after what is done to the replica: four seconds of them. */
const SOME = 160
const REPLICAS = ['api-gateway-prod', 'api-gateway-prod-2', 'api-gateway-prod-3']

const reason = whyNoRedis() ?? (await whyNoEngine())
if (reason !== undefined) t.plan(0, reason)
else await t.test('three gateways behind the edge', testScale)

function whyNoRedis(): string | undefined {
  try {
    readSettings({ REDIS_URL })
    return undefined
  } catch {
    return 'this gateway knows no Redis yet: the profile "scale" is not tested'
  }
}

async function testScale(t: Test) {
  const edge = await openEdge(t, { settings: { COMPOSE_PROFILES: 'scale', REDIS_URL } })
  await keepInMemory(t, join(edge.folder, 'src/db/redis'))
  await edge.compose('up -d --build')
  await Promise.all([...REPLICAS, 'redis-prod', 'traefik-prod'].map(untilHealthy))
  const token = await edge.mint()
  await untilCertified(edge.guest)
  await untilServing(edge, token)

  await t.test('a token is known to every replica, and its balance is one', async (t) => {
    for (const container of REPLICAS) {
      const call = `curl -fsS localhost:8088/v1/token -H "Authorization: Bearer ${token}"`
      const account = JSON.parse(await output('docker', ['exec', container, 'sh', '-c', call]))
      t.equal(account.credits.credited, 10_000_000, container)
      t.ok(account.credits.charged > 0, container)
    }
  })

  await t.test('a replica stopped politely under 40 requests a second loses none', async (t) => {
    const load = startLoad(edge, token)
    await load.answered(SOME)
    await output('docker', ['stop', '-t', '45', 'api-gateway-prod-2'])
    await load.answered(SOME)
    await output('docker', ['start', 'api-gateway-prod-2'])
    await untilHealthy('api-gateway-prod-2')
    await load.answered(SOME)
    const { sent, failed } = await load.end()
    t.ok(sent > 400, `${sent} sent`)
    t.same(failed, [], `none of them failed: ${failed}`)
  })

  await t.test('a rolling update under the same load loses none', async (t) => {
    const load = startLoad(edge, token)
    await edge.shell('COMPOSE="$COMPOSE" sh scripts/rolling-update.sh')
    const { sent, failed } = await load.end()
    t.ok(sent > 400, `${sent} sent`)
    t.same(failed, [], `none of them failed: ${failed}`)
  })

  await t.test(
    'what was acknowledged is on disk: all of it down and up again, the same balance',
    async (t) => {
      const account = async () =>
        (await edge.guest.ask(DOMAINS[0] ?? '', { path: '/v1/token', headers: bearer(token) })).json().credits
      const before = await account()
      await edge.compose('down')
      await edge.compose('up -d')
      await untilServing(edge, token)
      const after = await account()
      t.equal(after.credited, before.credited)
      t.ok(after.charged > before.charged && after.charged < before.charged + 1000)
    },
  )

  await t.test('a backup under load takes Redis along, and what is lost comes back from it', async (t) => {
    const account = async () =>
      (await edge.guest.ask(DOMAINS[0] ?? '', { path: '/v1/token', headers: bearer(token) })).json().credits
    const load = startLoad(edge, token)
    await load.answered(SOME)
    const backup = await edge.shell('sh scripts/backup.sh')
    await load.answered(SOME)
    const { failed } = await load.end()
    t.same(failed, [], `none of them failed: ${failed}`)
    const before = await account()
    await edge.compose('down')
    // All of Redis is gone with it.
    await output('umount', [join(edge.folder, 'src/db/redis')])
    await edge.shell(`sh scripts/restore.sh ${backup}`)
    await edge.compose('up -d')
    await untilServing(edge, token)
    const after = await account()
    t.equal(after.credited, before.credited)
    t.ok(after.charged > 0 && after.charged <= before.charged, `${after.charged} of ${before.charged}`)
    t.match(await edge.compose('exec -T api-gateway node scripts/ledger-check.js'), /credited = balance/)
  })
}

/**
 * A disk whose sync takes longer than the gateways wait for Redis (300 ms) makes them refuse, as it should; here replicas
 * come and go, and the disk of this machine is not to be seen.
 */
async function keepInMemory(t: Test, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  await output('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', folder])
  t.teardown(() => run('umount', ['-l', folder]))
}
