import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2'
import type { LookupFunction } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { Agent, type MessageEvent, WebSocket } from 'undici'
import { healthy } from '../support/answers.ts'
import { status } from '../support/behaviour.ts'
import { bearer, type Reply } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { type FakeProvider, startProvider } from '../support/provider.ts'
import { ask } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import { DASHBOARD, DOMAINS } from './support/deployment.ts'
import { whyNoContainers } from './support/engine.ts'
import { type Front, startFront } from './support/front.ts'
import { poll } from './support/shell.ts'
import { startSocketServiceAt } from './support/sockets.ts'
import { beginRequest } from './support/visitor.ts'

const CLIENT = '198.18.5.21'
const MOST_AT_ONCE = 8
const [FIRST = '', SECOND = ''] = DOMAINS
const PATH = '/v1/chat/completions'

const reason = await whyNoContainers()
if (reason !== undefined) t.plan(0, reason)
else await t.test("the edge's own errors", testErrors)

interface Scene {
  front: Front
  provider: FakeProvider
  token: string
}

async function testErrors(t: Test) {
  const settings = { EDGE_CONNECTIONS_PER_ADDRESS: String(MOST_AT_ONCE) }
  const front = await startFront(t, { net: 9, clients: [CLIENT], settings })
  const guest = front.from(CLIENT)

  await t.test('without a gateway every client is told in its own words to come back', async (t) => {
    for (const path of ['/v1/chat/completions', '/v1/models', '/', '/ui/']) {
      const reply = await guest.ask(FIRST, { path, headers: { 'x-request-id': 'own-1' } })
      checkOwn(t, reply)
      t.equal(reply.headers['x-request-id'], 'own-1')
      t.match(reply.headers, { 'x-content-type-options': 'nosniff' }, 'as careful as any answer')
    }
    const reply = await guest.ask(FIRST, { method: 'POST', path: '/v1/messages?beta=true', body: ask(true) })
    t.match(reply.json(), { type: 'error', error: { type: 'api_error', message: /Try again/ } })
    t.equal(reply.json().request_id, reply.headers['x-request-id'])
    t.match(reply.headers['request-id'], /^req_\w{24}$/)
    const head = await guest.ask(FIRST, { method: 'HEAD', path: '/v1/models' })
    t.equal(head.text, '')
    t.match(head.headers, { 'content-type': /json/, 'retry-after': '2' })
  })

  const provider = await startProvider(t)
  const service = await startSocketServiceAt(t, '127.0.0.1', (words) => `echo ${words}`)
  const options = {
    modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
    env: {
      ...providerKeys('main'),
      PORT: '8088',
      HOST: front.gatewayAddress,
      TRUSTED_PROXIES: '198.18.9.0/24',
      WS_ROUTES: `/ws=ws://${service}/ws!open`,
      RATE_LIMIT_PER_MINUTE: '100000',
    },
  }
  let gateway = await startGateway(t, options)
  const token = await mintToken(t, gateway)
  const scene = { front, provider, token }
  await untilServing(scene)

  await t.test("a gateway's own answers pass as they are, whatever their status", async (t) => {
    provider.answer(status(500))
    const own = await guest.ask(FIRST, {
      method: 'POST',
      path: PATH,
      headers: bearer(token),
      body: ask(false),
    })
    t.equal(own.status, 502)
    t.match(own.json().error, { code: 'upstream_failed' })
    provider.answer(status(429))
    const limited = await guest.ask(FIRST, {
      method: 'POST',
      path: PATH,
      headers: bearer(token),
      body: ask(false),
    })
    t.notMatch(limited.text, /gateway_unavailable|This address/)
    const missing = await guest.ask(FIRST, { path: '/v1/nothing', headers: bearer(token) })
    t.equal(missing.status, 404)
    t.notMatch(missing.text, /host name/)
    t.equal((await guest.ask(FIRST, { path: '/v1/models' })).json().error.code, 'invalid_api_key')
    provider.answer(healthy())
  })

  await t.test('each event of a stream leaves at once', async (t) => {
    const running = controlled()
    provider.queue(running)
    const stream = await guest.open(SECOND, { path: PATH, headers: bearer(token), body: ask(true) })
    const pieces = stream[Symbol.asyncIterator]()
    for (const word of ['one', 'two', 'three']) {
      await running.write(`data: {"choices":[{"index":0,"delta":{"content":"${word}"}}]}\n\n`)
      t.match((await pieces.next()).value?.bytes.toString(), word)
    }
    await running.write('data: [DONE]\n\n')
    await running.end()
    t.match((await pieces.next()).value?.bytes.toString(), 'DONE')
    t.equal((await pieces.next()).done, true)
  })

  await t.test('a WebSocket passes', (t) => testSocket(t, front))
  await t.test('who has too much under way is told so, and nobody else', (t) => testTooMany(t, scene))

  await t.test('a host name of somebody else is not found', async (t) => {
    const foreign = await guest.ask(FIRST, { path: '/v1/models', headers: { host: 'elsewhere.example.org' } })
    t.equal(foreign.status, 404)
    t.match(foreign.json().error, { code: 'not_found', param: null })
    t.equal(foreign.headers['x-should-retry'], 'false')
  })

  await t.test('the dashboard answers in its own way', async (t) => {
    t.notMatch((await guest.ask(DASHBOARD, { path: '/dashboard/' })).headers['content-type'], /json/)
  })

  await t.test('what drains refuses in its own words; after it the edge does', async (t) => {
    const running = controlled()
    provider.queue(running)
    const stream = await guest.open(FIRST, { path: PATH, headers: bearer(token), body: ask(true) })
    await running.write('data: {"choices":[{"index":0,"delta":{"content":"before"}}]}\n\n')
    const stopped = gateway.stop()
    const refused = await poll('the drain', async () => {
      const reply = await chat(scene)
      return reply.status === 503 ? reply : undefined
    })
    t.match(refused.json().error.code, /^gateway_(restarting|unavailable)$/)
    await running.write('data: {"choices":[{"index":0,"delta":{"content":"after"}}]}\n\ndata: [DONE]\n\n')
    await running.end()
    t.match(await stream.rest(), { text: /before.*after.*DONE/s, cut: false })
    t.equal((await stopped).code, 0)
    checkOwn(t, await chat(scene))
  })
  gateway = await startGateway(t, { ...options, dbDir: gateway.dbDir })
  await untilServing(scene)

  await t.test('a gateway that dies in the middle of a request leaves no bare text', (t) =>
    testDeath(t, { ...scene, gateway }),
  )
}

function chat({ front, token }: Scene): Promise<Reply> {
  return front
    .from(CLIENT)
    .ask(FIRST, { method: 'POST', path: PATH, headers: bearer(token), body: ask(false) })
}

function untilServing(scene: Scene): Promise<true> {
  return poll('an answer through the edge', async () => (await chat(scene)).status === 200 || undefined)
}

/** An answer of the edge alone. */
function checkOwn(t: Test, reply: Reply): void {
  t.ok([502, 503, 504].includes(reply.status), `${reply.status} ${reply.text}`)
  const { error } = reply.json()
  t.same(Object.keys(error).sort(), ['code', 'message', 'param', 'type'])
  t.match(error, { code: 'gateway_unavailable', type: 'api_error', param: null, message: /Try again/ })
  t.match(reply.headers, {
    'content-type': 'application/json; charset=utf-8',
    'retry-after': '2',
    'retry-after-ms': '2000',
    'x-should-retry': 'true',
  })
}

async function testSocket(t: Test, { address, root }: Front) {
  const lookup: LookupFunction = (_name, _options, done) => done(null, [{ address, family: 4 }])
  const dispatcher = new Agent({ connect: { ca: root, lookup } })
  t.teardown(() => dispatcher.close())
  const socket = new WebSocket(`wss://${FIRST}:8443/ws`, { dispatcher })
  await once(socket, 'open')
  const message = once(socket, 'message')
  socket.send('hello')
  const [event] = (await message) as [MessageEvent]
  t.equal(String(event.data), 'echo hello')
  socket.close()
}

async function testTooMany(t: Test, { front, provider, token }: Scene) {
  const socket = connect({
    host: front.address,
    port: 8443,
    servername: FIRST,
    ca: front.root,
    ...{ localAddress: CLIENT },
    ALPNProtocols: ['h2'],
  })
  await once(socket, 'secureConnect')
  const session: ClientHttp2Session = connectHttp2(`https://${FIRST}`, { createConnection: () => socket })
  t.teardown(() => session.destroy())
  const running = controlled()
  provider.answer(running)
  const open = (): ClientHttp2Stream => {
    const headers = { ':method': 'POST', ':path': PATH, authorization: `Bearer ${token}` }
    const stream = session.request({ ...headers, 'content-type': 'application/json' })
    stream.on('error', () => undefined)
    stream.end(JSON.stringify(ask(true)))
    return stream
  }
  const held = Array.from({ length: MOST_AT_ONCE }, open)
  await poll('all of them to wait', async () => provider.requests.length >= MOST_AT_ONCE || undefined)
  const refused = open()
  const [headers] = await once(refused, 'response')
  t.equal(headers[':status'], 429)
  t.equal(headers['retry-after'], '1')
  t.match(JSON.parse(await text(refused)).error, { code: 'rate_limit_exceeded', type: 'rate_limit_error' })
  for (const stream of held) stream.close()
  provider.answer(healthy())
}

async function testDeath(t: Test, { front, provider, token, gateway }: Scene & { gateway: TestGateway }) {
  provider.answer({ act: () => undefined })
  const client = { root: front.root, localAddress: CLIENT, host: front.address, port: 8443 }
  const before = provider.requests.length
  const sending = beginRequest(client, FIRST, {
    path: PATH,
    headers: { ...bearer(token), 'content-type': 'application/json' },
  })
  sending.end(JSON.stringify(ask(false)))
  const answered = once(sending, 'response')
  await poll('the provider to be asked', async () => provider.requests.length > before || undefined)
  await gateway.kill9()
  const [incoming] = await answered
  t.equal(incoming.statusCode, 502)
  t.match(JSON.parse(await text(incoming)).error, { code: 'gateway_unavailable' })
}
