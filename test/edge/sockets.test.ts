import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { LookupFunction } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Agent, type MessageEvent, WebSocket } from 'undici'
import { readSettings } from '../../src/config/env/settings.ts'
import { bearer } from '../support/client.ts'
import { modelsText } from '../support/models.ts'
import { DOMAINS, untilHealthy } from './support/deployment.ts'
import { addAddresses, type Edge, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { EDGE_ADDRESS, whyNoEngine } from './support/engine.ts'
import { poll } from './support/shell.ts'
import { startSocketService } from './support/sockets.ts'

const SILENCE_MS = 75_000
const [FIRST = '', SECOND = ''] = DOMAINS
const USAGE = { total_tokens: 30, input_tokens: 10, output_tokens: 20 }
const DONE = {
  type: 'response.done',
  event_id: 'e',
  response: { id: 'r', status: 'completed', usage: USAGE },
}

const reason = whyNoSockets() ?? (await whyNoEngine())
if (reason !== undefined) t.plan(0, reason)
else await t.test('sockets through the edge', testSockets)

function whyNoSockets(): string | undefined {
  try {
    readSettings({ WS_ROUTES: '/ws=wss://service.example.test/ws' })
    return undefined
  } catch {
    return 'this gateway knows no WebSockets yet: they are not tested through the edge'
  }
}

async function testSockets(t: Test) {
  await addAddresses(t)
  const service = await startSocketService(t, (text) => `echo ${text}`)
  const realtime = await startSocketService(t, () => JSON.stringify(DONE))
  const edge = await openEdge(t, { settings: { WS_ROUTES: `/ws=ws://${service}/ws` } })
  writeFileSync(join(edge.folder, 'models.yaml'), modelsOf(edge, realtime))
  await edge.compose('up -d --build')
  await untilHealthy('api-gateway-prod')
  const token = await edge.mint()
  await untilCertified(edge.guest, [FIRST, SECOND])
  await untilServing(edge, token)
  t.jobs = 2

  void t.test('a socket that is silent for 75 s stays open', async (t) => {
    const socket = await openSocket(edge, `wss://${FIRST}/ws?session_id=1`, token)
    t.equal(await said(socket, 'before'), 'echo before')
    await sleep(SILENCE_MS)
    t.equal(await said(socket, 'after'), 'echo after')
    socket.close()
  })

  await t.test('a realtime session passes the edge and is billed', async (t) => {
    const before = await charged(edge, token)
    const socket = await openSocket(edge, `wss://${SECOND}/v1/realtime?model=gpt-realtime`, token)
    t.match(JSON.parse(await said(socket, JSON.stringify({ type: 'response.create' }))), DONE)
    socket.close()
    const bill = await poll('the bill', async () => (await charged(edge, token)) - before || undefined)
    t.equal(bill, USAGE.total_tokens)
  })

  await t.test('an upgrade without a token is refused by the gateway, not by the edge', async (t) => {
    const headers = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' }
    const key = { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
    const reply = await edge.guest.ask(FIRST, { path: '/ws', headers: { ...headers, ...key } })
    t.equal(reply.status, 401)
    t.equal(reply.json().error.code, 'invalid_api_key')
  })
}

function modelsOf({ provider }: Edge, realtime: string): string {
  const entry = (baseUrl: string) => ({ baseUrl, keyEnv: 'MAIN_TEST_KEY', allowInsecure: true })
  return modelsText({
    providers: { main: entry(provider.url), live: entry(`http://${realtime}/v1`) },
    models: { m: 'main', 'gpt-realtime': 'live' },
  })
}

/** A client of the edge, by name, from this machine. */
async function openSocket({ authority }: Edge, url: string, token: string): Promise<WebSocket> {
  const lookup: LookupFunction = (_name, _options, done) => done(null, [{ address: EDGE_ADDRESS, family: 4 }])
  const dispatcher = new Agent({ connect: { ca: authority.root, lookup } })
  t.teardown(() => dispatcher.close())
  const socket = new WebSocket(url, { dispatcher, headers: { authorization: `Bearer ${token}` } })
  await once(socket, 'open')
  return socket
}

/** What comes back for a text. */
async function said(socket: WebSocket, text: string): Promise<string> {
  const message = once(socket, 'message')
  socket.send(text)
  const [event] = (await message) as [MessageEvent]
  return String(event.data)
}

async function charged({ guest }: Edge, token: string): Promise<number> {
  const reply = await guest.ask(FIRST, { path: '/v1/token', headers: bearer(token) })
  return reply.json().credits.charged
}
