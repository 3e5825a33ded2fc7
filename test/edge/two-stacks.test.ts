import t, { type Test } from 'tap'
import { bearer } from '../support/client.ts'
import { type Deployment, DOMAINS, openDeployment, settingsOf, untilHealthy } from './support/deployment.ts'
import { addAddresses } from './support/edge.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS, PROJECT, whyNoEngine } from './support/engine.ts'
import { makeOwnCertificate, placeCertificate } from './support/front.ts'
import { output, poll, run } from './support/shell.ts'
import { type Visitor, visitorAs } from './support/visitor.ts'

const STAGING = `${PROJECT}-staging`
const [FIRST = ''] = DOMAINS
const SERVICES = ['api-gateway', 'certificates', 'haproxy', 'traefik']
/** No authority is asked: the certificates are the operator's own. */
const OWN = { ACME_CHALLENGE: 'off', ACME_EMAIL: '' }
const BESIDE = {
  STACK_NAME: 'staging',
  EDGE_SUBNET: '198.18.11.0/24',
  EDGE_HTTP: `${EDGE_ADDRESS}:8080`,
  EDGE_HTTPS: `${EDGE_ADDRESS}:8443`,
}

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('staging beside production', testStacks)

interface Stack {
  deployment: Deployment
  guest: Visitor
  token: string
}

async function testStacks(t: Test) {
  await addAddresses(t)
  const production = await openStack(t, { port: 443 })
  const staging = await openStack(t, { port: 8443, project: STAGING, settings: BESIDE })

  await t.test('each has its containers, its image, its data and its names', async (t) => {
    const names = await output('docker', ['ps', '--format', '{{.Names}}'])
    for (const service of SERVICES)
      for (const stack of ['prod', 'staging'])
        t.ok(names.split('\n').includes(`${service}-${stack}`), `${service}-${stack}`)
    const images = await output('docker', ['images', '--format', '{{.Repository}}:{{.Tag}}'])
    t.match(images, /api-gateway:prod/)
    t.match(images, /api-gateway:staging/)
    for (const { guest, token } of [production, staging]) t.equal(await account(guest, token), 200)
    t.equal(await account(production.guest, staging.token), 401)
    t.equal(await account(staging.guest, production.token), 401)
  })

  await t.test('certificates of the operator are served, and none is ordered', async (t) => {
    const notes = await poll('the notes', async () => {
      const text = await output('docker', ['logs', 'certificates-prod'])
      return text.includes(`traefik.${FIRST}`) ? text : undefined
    })
    t.match(notes, `${FIRST}: has its certificate`)
    t.match(notes, /traefik\..*: has no certificate in edge\/certificates, and none is ordered/)
    t.notMatch(notes, 'is ordered\n')
  })

  await t.test('a missing e-mail stops the start, and "logs" says so in one line', async (t) => {
    const { deployment } = staging
    deployment.set({ ACME_CHALLENGE: '' })
    await t.rejects(deployment.compose('up -d'))
    const said = await deployment.compose('logs --no-color prepare')
    t.match(said, /ACME_EMAIL is empty: set it in \.env/)
    deployment.set({ ACME_CHALLENGE: 'off' })
  })

  await t.test('what goes down takes nothing of the other', async (t) => {
    await staging.deployment.compose('down')
    t.equal(await account(production.guest, production.token), 200)
  })

  await t.test('the gateway without Traefik takes the data over', (t) => testGatewayAlone(t, staging))
  await t.test('after a reboot, in whatever order, production serves by itself', (t) =>
    testReboot(t, production),
  )
}

interface Opening {
  port: number
  project?: string
  settings?: Record<string, string>
}

async function openStack(t: Test, { port, project = PROJECT, settings = {} }: Opening): Promise<Stack> {
  const deployment = await openDeployment(t, {
    project,
    settings: { ...settingsOf(''), ...OWN, ...settings },
  })
  const certificate = await makeOwnCertificate([`*.${FIRST.replace(/^\w+\./, '')}`])
  placeCertificate(deployment.folder, 'own', certificate)
  await deployment.compose('up -d --build')
  const name = settings.STACK_NAME ?? 'prod'
  t.teardown(() => (name === 'prod' ? undefined : run('docker', ['rmi', '-f', `api-gateway:${name}`])))
  await Promise.all(SERVICES.map((service) => untilHealthy(`${service}-${name}`)))
  const token = await deployment.compose(
    'exec -T api-gateway node scripts/token-gen.js --type user --userName testuser --token 1000',
  )
  const localAddress = CLIENT_ADDRESSES[0] ?? ''
  const guest = visitorAs({ root: certificate.cert, localAddress, host: EDGE_ADDRESS, port })
  await poll(`an answer of ${name}`, async () => (await account(guest, token)) === 200 || undefined)
  return { deployment, guest, token }
}

async function account(guest: Visitor, token: string): Promise<number> {
  const reply = await guest.ask(FIRST, { path: '/v1/token', headers: bearer(token) }).catch(() => undefined)
  return reply?.status ?? 0
}

async function testGatewayAlone(t: Test, { deployment, token }: Stack) {
  const address = '127.0.0.1:18088'
  deployment.set({ GATEWAY_PORT: address, EDGE_TRUSTED_PROXIES: '203.0.113.0/24' })
  const alone = `\${COMPOSE%% *} -p ${STAGING} -f docker-compose.gateway.yml`
  t.teardown(() => deployment.shell(`${alone} down -v`))
  await deployment.shell(`${alone} up -d`)
  await untilHealthy('api-gateway-staging')
  const headers = { ...bearer(token), 'x-forwarded-for': '192.0.2.7', 'x-request-id': 'through-own-proxy' }
  const reply = await fetch(`http://${address}/v1/token`, { headers: headers as Record<string, string> })
  t.equal(reply.status, 200, 'the same tokens')
  const line = await poll('its line', async () =>
    (await output('docker', ['logs', 'api-gateway-staging']))
      .split('\n')
      .find((text) => text.includes('through-own-proxy')),
  )
  t.equal(JSON.parse(line).address, '192.0.2.7')
  t.same(
    await output('docker', ['ps', '-q', '--filter', 'name=-staging$']).then((ids) => ids.split('\n').length),
    1,
  )
}

async function testReboot(t: Test, { guest, token }: Stack) {
  const all = SERVICES.map((service) => `${service}-prod`)
  for (const order of [
    ['haproxy', 'traefik', 'certificates', 'api-gateway'],
    ['traefik', 'api-gateway', 'haproxy', 'certificates'],
  ]) {
    await output('docker', ['kill', ...all])
    for (const service of order) await output('docker', ['start', `${service}-prod`])
    await poll('an answer', async () => (await account(guest, token)) === 200 || undefined)
    await Promise.all(all.map(untilHealthy))
  }
  t.pass('twice')
}
