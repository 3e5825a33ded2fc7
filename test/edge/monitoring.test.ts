import { writeFileSync } from 'node:fs'
import type { OutgoingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { bearer } from '../support/client.ts'
import { boardQuestions, hurriedAlerts, type Series, seriesOf } from '../support/prometheus.ts'
import { ALL_NAMES, DASHBOARD, DOMAINS, untilHealthy } from './support/deployment.ts'
import { type Edge, inspect, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS, whyNoEngine, whyNoImages } from './support/engine.ts'
import { output, poll, run } from './support/shell.ts'

const TEN_DAYS_S = 10 * 86_400
const reason = (await whyNoEngine()) ?? (await whyNoImages('prom/prometheus', 'grafana/grafana'))
if (reason !== undefined) t.plan(0, reason)
else await t.test('monitoring in the box', testMonitoring)

/** From a container of the edge's network, since no port is published. */
async function query(expression: string): Promise<readonly Series[] | undefined> {
  const url = `http://prometheus:9090/api/v1/query?query=${encodeURIComponent(expression)}`
  const { code, stdout } = await run('docker', ['exec', 'api-gateway-prod', 'curl', '-sS', url])
  return code === 0 ? seriesOf(stdout) : undefined
}

async function firing(name: string) {
  return (await query(`ALERTS{alertname="${name}",alertstate="firing"}`))?.map(({ metric }) => metric)
}

function untilFiring(name: string, count = 1) {
  const ask = async () => {
    const found = await firing(name)
    return (found?.length ?? 0) >= count ? found : undefined
  }
  return poll(`${name} to fire`, ask, { everyMs: 1000 })
}

async function testMonitoring(t: Test) {
  const settings = { COMPOSE_PROFILES: 'monitoring', EDGE_CONNECTIONS: '40' }
  const edge = await openEdge(t, { settings, validitySeconds: TEN_DAYS_S })
  const { guest, compose } = edge
  const alerts = join(edge.folder, 'deploy', 'prometheus')
  writeFileSync(join(alerts, 'alerts.yml'), hurriedAlerts())
  await edge.shell(`sed -i 's/15s/2s/' ${alerts}/prometheus.yml`)
  await compose('up -d --build')
  await Promise.all(['api-gateway-prod', 'prometheus-prod', 'grafana-prod', 'traefik-prod'].map(untilHealthy))
  const token = await edge.mint()
  await untilCertified(guest)
  await untilServing(edge, token)
  const board = (headers: OutgoingHttpHeaders = {}) => guest.ask(DASHBOARD, { path: '/grafana/', headers })

  await t.test('without the dashboard’s password Grafana is shut', async (t) => {
    for (const credentials of ['', 'admin:admin', 'admin:change_this_password'])
      t.equal((await board({ authorization: `Basic ${btoa(credentials)}` })).status, 404)
    t.equal((await board({ 'x-webauth-user': 'admin' })).status, 404)
  })

  await t.test(
    'the dashboard’s password opens it, and says who came, whatever the client says',
    async (t) => {
      const password = await compose('run --rm -T prepare node scripts/dashboard-password.js')
      await compose('up -d --force-recreate traefik')
      const asked = await poll('Traefik to ask', async () => {
        const reply = await board().catch(() => undefined)
        return reply?.status === 401 ? reply : undefined
      })
      t.equal(asked.status, 401)
      t.equal((await board({ authorization: `Basic ${btoa('admin:wrong')}` })).status, 401)
      const authorization = `Basic ${btoa(`admin:${password}`)}`
      for (const spoofed of [{}, { 'x-webauth-user': 'root' }, { x_webauth_user: 'root' }]) {
        const reply = await board({ authorization, ...spoofed })
        t.equal(reply.status, 200)
        const seen = reply.json()
        if (seen.user === undefined) return t.comment('the real Grafana: what it was told is not to be seen')
        t.match(seen, { url: '/grafana/', user: 'admin', authorization: undefined })
      }
      await isShutIn(t, (await board({ authorization })).json())
      t.equal((await guest.ask(DOMAINS[0] ?? '', { path: '/grafana/' })).status, 404, 'by no other name')
    },
  )

  await t.test('Prometheus reads each part with a key of its own, and every panel has data', async (t) => {
    const jobs = ['gateway', 'haproxy', 'prometheus', 'traefik']
    await poll('all parts to be read', async () => {
      const up = (await query('up == 1'))?.map(({ metric }) => metric.job).sort()
      return up?.join() === jobs.join() || undefined
    })
    t.equal((await query('gateway_ready'))?.[0]?.metric.instance, 'api-gateway')
    const key = await output('docker', ['exec', 'prometheus-prod', 'cat', '/run/monitoring/metrics-key'])
    t.match(key, /^[0-9a-f]{64}$/)
    const mode = ['exec', 'prometheus-prod', 'stat', '-c', '%a %u', '/run/monitoring/metrics-key']
    t.equal(await output('docker', mode), '600 1000')
    t.equal((await guest.ask(DOMAINS[0] ?? '', { path: '/metrics', headers: bearer(key) })).status, 200)
    t.equal((await guest.ask(DOMAINS[0] ?? '', { path: '/metrics' })).status, 401)
    for (const container of ['prometheus-prod', 'api-gateway-prod']) {
      t.notMatch(JSON.stringify(await inspect(container, '.')), key)
      t.notMatch(await output('docker', ['logs', container]), key)
    }
    await hasData(t, edge, token)
  })

  await t.test(
    'certificates that end, an edge that is gone, connections that run out: once each',
    async (t) => {
      const names = (await untilFiring('CertificateEnds', ALL_NAMES.length))?.map(({ sans = '' }) => sans)
      t.same(names?.sort(), [...ALL_NAMES].sort(), 'once for each name')
      const sockets = await Promise.all(Array.from({ length: 31 }, () => openIdle(edge)))
      t.equal((await untilFiring('ConnectionsNearlyAll'))?.length, 1)
      for (const socket of sockets) socket.destroy()
      await output('docker', ['stop', '-t', '1', 'haproxy-prod'])
      t.match(await untilFiring('EdgeDown'), [{ instance: 'haproxy' }])
      t.equal((await firing('GatewayNotReady'))?.length, 0, 'the gateway itself is well')
      await output('docker', ['start', 'haproxy-prod'])
      await output('docker', ['stop', '-t', '1', 'api-gateway-prod'])
      const rest = 'promtool query instant http://localhost:9090 \'ALERTS{alertstate="firing"}\''
      await poll('the gateway to be missed', async () => {
        const said = await output('docker', ['exec', 'prometheus-prod', 'sh', '-c', rest])
        return said.split('\n').filter((line) => line.includes('GatewayNotReady')).length === 1 || undefined
      })
    },
  )
}

/** What the stand-in was given, and whom it reaches: Prometheus, and nobody else. */
async function isShutIn(t: Test, seen: Record<string, unknown>) {
  t.match(seen.reached, {
    'http://prometheus:9090/-/ready': 200,
    'http://api-gateway:8088/health': 0,
    'http://haproxy:8404/metrics': 0,
  })
  t.match(seen.settings, {
    GF_SERVER_ROOT_URL: `https://${DASHBOARD}/grafana/`,
    GF_AUTH_PROXY_ENABLED: 'true',
    GF_AUTH_ANONYMOUS_ENABLED: 'false',
    GF_AUTH_BASIC_ENABLED: 'false',
    GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: 'true',
  })
  t.equal(seen.secretLength, 64)
  t.match(JSON.stringify(seen.files), 'gateway.json')
  t.match(JSON.stringify(seen.files), 'prometheus.yml')
}

async function hasData(t: Test, edge: Edge, token: string) {
  let isOver = false
  const load = (async () => {
    while (!isOver) await edge.chat(token).catch(() => undefined)
  })()
  for (const { title, expression } of boardQuestions()) {
    if (!/traefik_|haproxy_|gateway_model|gateway_disk/.test(expression)) continue
    const found = await poll(`data for ${title}`, async () => {
      const series = await query(expression)
      return series?.some(({ value }) => Number.isFinite(Number(value[1]))) || undefined
    }).catch(() => false)
    t.ok(found, `${title}: ${expression}`)
  }
  isOver = true
  await load
}

/** A connection over TLS that asks for nothing. */
function openIdle({ authority }: Edge): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const [servername = ''] = DOMAINS
    const [localAddress = ''] = CLIENT_ADDRESSES
    const options = { host: EDGE_ADDRESS, port: 443, servername, ca: authority.root, localAddress }
    const socket = connect(options, () => resolve(socket))
    socket.on('error', reject)
  })
}
