import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectPlain } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { healthy } from '../support/answers.ts'
import { bearer } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { type FakeProvider, startProvider } from '../support/provider.ts'
import { ask } from '../support/scene.ts'
import { DASHBOARD, DOMAINS } from './support/deployment.ts'
import { whyNoContainers } from './support/engine.ts'
import { type Front, makeOwnCertificate, placeCertificate, startFront } from './support/front.ts'
import { holdConnections } from './support/hostile.ts'
import { poll, shell } from './support/shell.ts'
import { visitorAs } from './support/visitor.ts'

const [PROXY, SECOND_PROXY, STRANGER] = ['198.18.5.31', '198.18.5.32', '198.18.5.33']
/** As many as a large network that passes requests on: a line of HAProxy's configuration holds 64 words. */
const MANY = Array.from({ length: 150 }, (_, index) => `100.64.${index}.0/24`)
/** It hands TLS on as it is. */
const FORWARDER = '198.18.5.34'
const MOST = 8
const PORT = 8443
const [FIRST = ''] = DOMAINS
const PATH = '/v1/chat/completions'

const reason = await whyNoContainers()
if (reason !== undefined) t.plan(0, reason)
else await t.test('behind proxies that the operator trusts', testProxies)

interface Scene {
  front: Front
  gateway: TestGateway
  provider: FakeProvider
  token: string
}

async function testProxies(t: Test) {
  const settings = {
    EDGE_TRUSTED_PROXIES: `${PROXY}/32, 203.0.113.0/24,2001:db8:1::/48,${MANY},${SECOND_PROXY}`,
    EDGE_PROXY_PROTOCOL: `${MANY}, ${FORWARDER}`,
    EDGE_CONNECTIONS_PER_ADDRESS: String(MOST),
    DASHBOARD_ALLOWLIST: '192.0.2.7',
  }
  const front = await startFront(t, {
    net: 10,
    clients: [PROXY, SECOND_PROXY, STRANGER, FORWARDER],
    settings,
  })
  const provider = await startProvider(t)
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
    env: {
      ...providerKeys('main'),
      PORT: '8088',
      HOST: front.gatewayAddress,
      TRUSTED_PROXIES: '198.18.10.0/24',
      RATE_LIMIT_PER_MINUTE: '100000',
    },
  })
  const scene = { front, gateway, provider, token: await mintToken(t, gateway) }
  await poll('an answer', async () => (await chat(scene, PROXY, '192.0.2.1')) === 200 || undefined)

  await t.test('the gateway and the log see the client, whatever it says of itself', (t) =>
    testSeen(t, scene),
  )

  await t.test("the dashboard's list is about the client too", async (t) => {
    const page = (from: string, forwarded: string) =>
      front.from(from).ask(DASHBOARD, { path: '/dashboard/', headers: { 'x-forwarded-for': forwarded } })
    t.equal((await page(PROXY, '192.0.2.7')).status, 401, 'the password is asked for')
    t.equal((await page(PROXY, '192.0.2.8')).status, 403)
    t.equal((await page(STRANGER, '192.0.2.7')).status, 403, 'nobody else is believed')
  })

  await t.test(
    'a proxy may bring as many connections as it has clients, a stranger as one may',
    async (t) => {
      const where = { host: front.address, port: PORT }
      const many = MOST * 3
      t.equal(await holdConnections(t, { ...where, localAddress: PROXY, count: many }), many)
      t.ok((await holdConnections(t, { ...where, localAddress: STRANGER, count: many })) <= MOST)
    },
  )

  await t.test('who came is what the PROXY protocol says, of those who may speak it', (t) =>
    testForwarded(t, scene),
  )

  await t.test('requests under way are counted for each client behind a proxy', (t) => testCounting(t, scene))

  await t.test("a new certificate of one's own is taken while all goes on", async (t) => {
    const renewed = await makeOwnCertificate([FIRST])
    placeCertificate(front.folder, 'own', renewed)
    await shell('chown 1000:1000 edge/certificates/* && touch edge/routes.yml', { cwd: front.folder })
    const where = { root: renewed.cert, localAddress: STRANGER, host: front.address, port: PORT }
    t.ok(await poll('the new one', () => visitorAs(where).certificate(FIRST)))
  })
}

async function chat({ front, token }: Scene, from: string, forwarded: string, id = 'any') {
  const headers = { ...bearer(token), 'x-forwarded-for': forwarded, 'x-request-id': id }
  return (await front.from(from).ask(FIRST, { method: 'POST', path: PATH, headers, body: ask(false) })).status
}

async function testSeen(t: Test, scene: Scene) {
  const table: [string, string, string, string][] = [
    ['the client of a proxy', PROXY, '192.0.2.9', '192.0.2.9'],
    ['what the client put before', PROXY, '192.0.2.66, 192.0.2.9', '192.0.2.9'],
    ['two proxies', PROXY, '192.0.2.66, 192.0.2.9, 203.0.113.5', '192.0.2.9'],
    ['a port', PROXY, '192.0.2.9:51234', '192.0.2.9'],
    ['IPv6', PROXY, '2001:db8:2::9', '2001:db8:2::9'],
    ['IPv6 with a port', PROXY, '[2001:db8:2::9]:51234', '2001:db8:2::9'],
    ['IPv6 of a proxy', SECOND_PROXY, '2001:db8:2::9, 2001:db8:1::5', '2001:db8:2::9'],
    ['nonsense', PROXY, '192.0.2.9, unknown', PROXY],
    ['nothing', PROXY, '', PROXY],
    ['a stranger', STRANGER, '192.0.2.9', STRANGER],
  ]
  for (const [what, from, forwarded, expected] of table) {
    const id = `seen-${what.replaceAll(' ', '-')}`
    t.equal(await chat(scene, from, forwarded, id), 200, what)
    const line = await scene.gateway.waitForLine(({ requestId, id: own }) => [requestId, own].includes(id))
    t.equal(line.address, expected, what)
  }
}

async function testCounting(t: Test, { front, provider, token }: Scene) {
  const socket = connect({
    host: front.address,
    port: PORT,
    servername: FIRST,
    ca: front.root,
    ...{ localAddress: PROXY },
    ALPNProtocols: ['h2'],
  })
  await once(socket, 'secureConnect')
  const session = connectHttp2(`https://${FIRST}`, { createConnection: () => socket })
  t.teardown(() => session.destroy())
  const before = provider.requests.length
  provider.answer({ act: () => undefined })
  const open = (client: string) => {
    const headers = { ':method': 'POST', ':path': PATH, authorization: `Bearer ${token}` }
    const stream = session.request({
      ...headers,
      'content-type': 'application/json',
      'x-forwarded-for': client,
    })
    stream.on('error', () => undefined)
    stream.end(JSON.stringify(ask(false)))
    return stream
  }
  const held = Array.from({ length: MOST }, () => open('192.0.2.50'))
  await poll('all to wait', async () => provider.requests.length >= before + MOST || undefined)
  const [refused] = await once(open('192.0.2.50'), 'response')
  t.equal(refused[':status'], 429)
  provider.answer(healthy())
  const [served] = await once(open('192.0.2.51'), 'response')
  t.equal(served[':status'], 200, 'another client is not')
  for (const stream of held) stream.close()
}

/** A connection that begins with who comes; undefined where it is ended. */
async function forward(front: Front, from: string, client: string) {
  const under = connectPlain({ host: front.address, port: PORT, localAddress: from })
  under.on('error', () => undefined)
  await once(under, 'connect')
  under.write(`PROXY TCP4 ${client} 198.18.10.2 51234 443\r\n`)
  const socket = connect({ socket: under, servername: FIRST, ca: front.root })
  return new Promise<TLSSocket | undefined>((done) => {
    socket.once('secureConnect', () => done(socket)).once('error', () => done(undefined))
    socket.once('close', () => done(undefined))
  })
}

async function testForwarded(t: Test, { front, gateway, token }: Scene) {
  const socket = await forward(front, FORWARDER, '192.0.2.77')
  const head = `GET /v1/token HTTP/1.1\r\nHost: ${FIRST}\r\nAuthorization: Bearer ${token}\r\n`
  socket?.write(`${head}X-Request-Id: forwarded\r\nX-Forwarded-For: 192.0.2.66\r\nConnection: close\r\n\r\n`)
  t.match(socket ? await text(socket) : '', /^HTTP\/1\.1 200/)
  const line = await gateway.waitForLine((each) => [each.requestId, each.id].includes('forwarded'))
  t.equal(line.address, '192.0.2.77')
  t.equal(await forward(front, STRANGER, '192.0.2.77'), undefined, 'a stranger may not')
  const all = await Promise.all(
    Array.from({ length: MOST * 2 }, () => forward(front, FORWARDER, '192.0.2.78')),
  )
  t.equal(all.filter(Boolean).length, MOST, 'each client has as many connections as any')
  for (const each of all) each?.destroy()
}
