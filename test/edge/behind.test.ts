import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { LookupFunction } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Agent, type MessageEvent, WebSocket } from 'undici'
import { healthy } from '../support/answers.ts'
import { json, status } from '../support/behaviour.ts'
import { bearer, readAll } from '../support/client.ts'
import { BOUNDARY, formType, TRANSCRIPT } from '../support/form.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { unusedPort } from '../support/ports.ts'
import { type FakeProvider, startProvider } from '../support/provider.ts'
import { ask } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import { makeOwnCertificate } from './support/front.ts'
import { poll } from './support/shell.ts'
import { startSocketServiceAt } from './support/sockets.ts'
import { beginRequest, type Client, type Visitor, visitorAs } from './support/visitor.ts'
import { WEB_SERVERS, type WebServer, whyNotHere } from './support/web-servers.ts'

const NAME = 'api.example.com'
const PATH = '/v1/chat/completions'
const MIB = 1024 * 1024
/** Beyond what any web server takes or keeps in memory by itself. */
const UPLOAD_MIB = 64
/** Longer than nginx waits for an answer unless told otherwise. */
const SILENCE_MS = 65_000
const [CLIENT, OTHER] = ['127.0.0.2', '127.0.0.3']

// Side by side: each of them is silent for a minute.
t.jobs = WEB_SERVERS.length
for (const server of WEB_SERVERS) {
  const reason = await whyNotHere(server)
  void t.test(`behind ${server.name}, as the manual has it`, { skip: reason ?? false, buffered: true }, (t) =>
    testBehind(t, server),
  )
}

interface Scene {
  gateway: TestGateway
  provider: FakeProvider
  token: string
  client: Client
  guest: Visitor
}

async function testBehind(t: Test, server: WebServer) {
  const scene = await openScene(t, server)
  const { guest, provider, token } = scene
  const call = (sent: object = {}) =>
    guest.ask(NAME, { method: 'POST', path: PATH, headers: bearer(token), body: ask(false), ...sent })
  t.equal((await call()).status, 200)

  await t.test("the gateway's own answers pass, whatever their status", async (t) => {
    provider.answer(status(500))
    t.match((await call()).json().error, { code: 'upstream_failed' })
    t.match((await call({ path: '/v1/nothing' })).json().error, { code: 'not_found' })
    provider.answer(healthy())
  })

  await t.test('each event of a stream leaves at once', (t) => testStream(t, scene))
  await t.test('a WebSocket passes', (t) => testSocket(t, scene))
  await t.test('an upload arrives while it is sent, and whole', (t) => testUpload(t, scene))
  await t.test('the gateway sees who came, whatever a client says', (t) => testAddress(t, scene))
  await t.test('a stream that is silent for 65 s goes on', (t) => testSilence(t, scene))

  await t.test('without the gateway clients are told to come back', async (t) => {
    await scene.gateway.stop()
    const reply = await call()
    t.equal(reply.status, 503)
    t.match(reply.json().error, { code: 'gateway_unavailable', type: 'api_error', param: null })
    t.match(reply.headers, { 'retry-after': '2', 'content-type': /^application\/json/ })
  })
}

async function openScene(t: Test, server: WebServer): Promise<Scene> {
  const provider = await startProvider(t)
  const service = await startSocketServiceAt(t, '127.0.0.1', (words) => `echo ${words}`)
  const models = { m: 'main', 'whisper-1': 'main' }
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, { providers: { main: provider.url }, models }),
    env: {
      ...providerKeys('main'),
      TRUSTED_PROXIES: '127.0.0.1',
      WS_ROUTES: `/ws=ws://${service}/ws!open`,
      RATE_LIMIT_PER_MINUTE: '100000',
      SSE_HEARTBEAT_MS: 'off',
    },
  })
  const [httpsPort, httpPort] = [await unusedPort(), await unusedPort()]
  const certificate = await makeOwnCertificate([NAME])
  await server.start(t, { gatewayPort: gateway.port, httpsPort, httpPort, certificate })
  const client = { root: certificate.cert, localAddress: CLIENT, host: '127.0.0.1', port: httpsPort }
  const guest = visitorAs(client)
  await poll(`${server.name} to listen`, async () => guest.certificate(NAME))
  return { gateway, provider, token: await mintToken(t, gateway), client, guest }
}

async function testStream(t: Test, { guest, provider, token }: Scene) {
  const running = controlled()
  provider.queue(running)
  const stream = await guest.open(NAME, { path: PATH, headers: bearer(token), body: ask(true) })
  const pieces = stream[Symbol.asyncIterator]()
  for (const word of ['one', 'two', 'three']) {
    const writtenAt = performance.now()
    await running.write(`data: {"choices":[{"index":0,"delta":{"content":"${word}"}}]}\n\n`)
    const piece = (await pieces.next()).value
    t.match(piece?.bytes.toString(), word)
    t.ok((piece?.at ?? 0) - writtenAt < 1000, 'at once')
  }
  await running.write('data: [DONE]\n\n')
  await running.end()
  t.match((await pieces.next()).value?.bytes.toString(), 'DONE')
}

async function testSocket(t: Test, { client }: Scene) {
  const lookup: LookupFunction = (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
  const dispatcher = new Agent({ connect: { ca: client.root, lookup } })
  t.teardown(() => dispatcher.close())
  const socket = new WebSocket(`wss://${NAME}:${client.port}/ws`, { dispatcher })
  await once(socket, 'open')
  const message = once(socket, 'message')
  socket.send('hello')
  const [event] = (await message) as [MessageEvent]
  t.equal(String(event.data), 'echo hello')
  socket.close()
}

async function testUpload(t: Test, { client, provider, token }: Scene) {
  provider.answer(json(TRANSCRIPT))
  const head = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="large.wav"\r\n\r\n`
  const tail = `\r\n--${BOUNDARY}--\r\n`
  const piece = randomBytes(MIB)
  const hash = createHash('sha256').update(head)
  const length = head.length + UPLOAD_MIB * MIB + tail.length
  const before = provider.requests.length
  const headers = { ...bearer(token), ...formType(), 'content-length': length }
  const sending = beginRequest(client, NAME, { path: '/v1/audio/transcriptions', headers })
  const answered = once(sending, 'response').then(([incoming]) => readAll(incoming as IncomingMessage))
  const write = (bytes: Buffer | string) => new Promise((done) => sending.write(bytes, done))
  await write(head)
  for (let left = UPLOAD_MIB; left > 0; left--) {
    hash.update(piece)
    await write(piece)
    if (left === UPLOAD_MIB / 2)
      await poll('its first half', async () => provider.requests.length > before || undefined)
  }
  sending.end(tail)
  const { status: code, text } = await answered
  t.equal(code, 200, text)
  const body = provider.requests.at(-1)?.body ?? Buffer.alloc(0)
  t.equal(createHash('sha256').update(body).digest('hex'), hash.update(tail).digest('hex'))
  provider.answer(healthy())
}

async function testAddress(t: Test, { gateway, client, guest }: Scene) {
  const own = await mintToken(t, gateway, { user: 'listed', addresses: CLIENT })
  const path = '/v1/token'
  t.equal((await guest.ask(NAME, { path, headers: bearer(own) })).status, 200)
  const stranger = visitorAs({ ...client, localAddress: OTHER })
  const forged = { 'x-forwarded-for': CLIENT, 'x-real-ip': CLIENT, forwarded: `for=${CLIENT}` }
  const refused = await stranger.ask(NAME, { path, headers: { ...bearer(own), ...forged } })
  t.equal(refused.status, 403)
  t.equal(refused.json().error.code, 'address_not_allowed')
}

async function testSilence(t: Test, { guest, provider, token }: Scene) {
  const running = controlled()
  provider.queue(running)
  const stream = await guest.open(NAME, { path: PATH, headers: bearer(token), body: ask(true) })
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"before"}}]}\n\n')
  await sleep(SILENCE_MS)
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"after"}}]}\n\ndata: [DONE]\n\n')
  await running.end()
  t.match(await stream.rest(), { text: /before.*after.*DONE/s, cut: false })
}
