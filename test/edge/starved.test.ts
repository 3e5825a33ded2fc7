import { once } from 'node:events'
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { connect as connectPlain } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { chat } from '../support/answers.ts'
import { json } from '../support/behaviour.ts'
import { bearer } from '../support/client.ts'
import { formBody, formType, TRANSCRIPT } from '../support/form.ts'
import { ask } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import { DOMAINS, untilHealthy } from './support/deployment.ts'
import { type Edge, inspect, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS, whyNoEngine } from './support/engine.ts'
import { commandsBelow } from './support/guide.ts'
import { HOSTILE_ADDRESS, holdConnections, openHostileSpace, startCrowd } from './support/hostile.ts'
import { output, poll, run } from './support/shell.ts'

const [FIRST = '', SECOND = ''] = DOMAINS
const [NEAR = '', OTHER = ''] = CLIENT_ADDRESSES
const FRONT = ['haproxy-prod', 'traefik-prod']
const CROWD = 20_000
const REQUESTS = 300
const MOST_P99_MS = 200
/** On a machine that is busy without a crowd too: so many times what it needs then. */
const MOST_TIMES_QUIET = 3
/** This machine may be busy with work of its own; a starved edge answers in none of them. */
const ROUNDS = 3
const PER_ADDRESS = 512
const HEAD_MS = 20_000
/** Longer than a head may take. */
const UPLOAD_SECONDS = 30
const UNREAD = Buffer.alloc(10 * 1024 * 1024)
/** Two customers of a provider: the first has two addresses in its block. */
const IPV6_NETWORK = 'fd00:198:18:6::/64'
const IPV6_CLIENTS = ['fd00:198:18:a::1', 'fd00:198:18:a::2', 'fd00:198:18:b::1']

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('the edge cannot be starved', testStarved)

async function testStarved(t: Test) {
  const edge = await openEdge(t, { ipv6: IPV6_NETWORK })
  edge.provider.answer((seen) => (seen.url.includes('/audio/') ? json(TRANSCRIPT) : chat()))
  await openHostileSpace(t)
  await edge.compose('up -d --build')
  await Promise.all(['api-gateway-prod', ...FRONT].map(untilHealthy))
  const token = await edge.mint()
  await untilCertified(edge.guest)
  await untilServing(edge, token)

  await t.test('20,000 stalled connections of one address: others are served, nothing is killed', (t) =>
    testCrowd(t, edge, token),
  )
  await t.test('a head has 20 seconds, an upload has longer', async (t) => {
    t.jobs = 3
    void t.test('a head that stands still is cut', (t) => testHead(t, edge))
    void t.test('an upload of 30 seconds arrives over HTTP/1.1', (t) => testUpload(t, { edge, token }))
    await t.test('and over HTTP/2', (t) => testUpload(t, { edge, token, protocol: 'h2' }))
  })
  await t.test('of requests over HTTP/2, one address has as many at once as connections', (t) =>
    testStreams(t, edge, token),
  )
  await t.test('uploads of one address that nobody reads do not fill the memory', (t) =>
    testUnread(t, edge, token),
  )
  await t.test('IPv6 addresses of one block count as one', testIpv6)
  await t.test('when most places are taken, who comes now gets a few', (t) => testCrowded(t, edge, token))
  await t.test('an answer goes on while HAProxy is told to stop', (t) => testStop(t, edge, token))
}

async function testCrowd(t: Test, edge: Edge, token: string) {
  const begun = await states()
  const mostMs = Math.max(MOST_P99_MS, MOST_TIMES_QUIET * p99(await latencies(edge, token)))
  const crowd = await startCrowd(t, FIRST, CROWD)
  let slowestMs = Number.POSITIVE_INFINITY
  for (let left = ROUNDS; left > 0 && slowestMs >= mostMs; left--)
    slowestMs = p99(await latencies(edge, token))
  const { open, opened } = crowd.report()
  // Some are connected and not yet turned away.
  t.ok(open > 0.9 * PER_ADDRESS && open < 1.1 * PER_ADDRESS, `${open} of ${opened} are open`)
  t.ok(slowestMs < mostMs, `others are answered within ${slowestMs} ms (of ${mostMs}), 99 of 100`)
  for (const [name, share] of Object.entries(await memoryShares()))
    t.ok(share < 0.5, `${name} uses ${Math.round(100 * share)} % of its memory`)
  t.same(await states(), begun, 'neither killed nor started anew')
  const command = commandsBelow('### Who holds how many connections')
  const held = new RegExp(`${HOSTILE_ADDRESS} .*conn_cur=(\\d+)`)
  t.match(await edge.shell(command), held, 'the operator sees who it is')
  await crowd.end()
  await poll('the places to be free', async () => {
    const [, count = '0'] = held.exec(await edge.shell(command)) ?? []
    return count === '0' || undefined
  })
}

async function states() {
  const all = await Promise.all(FRONT.map((name) => inspect(name, '.State')))
  return (all as { StartedAt: string; OOMKilled: boolean }[]).map(({ StartedAt, OOMKilled }) => [
    StartedAt,
    OOMKilled,
  ])
}

/** How much of its limit each of the two has in use, as Docker counts it. */
async function memoryShares(): Promise<Record<string, number>> {
  const text = await output('docker', [
    'stats',
    '--no-stream',
    '--format',
    '{{.Name}} {{.MemPerc}}',
    ...FRONT,
  ])
  const rows = text.split('\n').map((line) => line.split(' '))
  return Object.fromEntries(rows.map(([name = '', share = '']) => [name, Number.parseFloat(share) / 100]))
}

/** Of requests from another address, one after the other, each with a connection of its own. */
async function latencies(edge: Edge, token: string): Promise<number[]> {
  const all: number[] = []
  for (let left = REQUESTS; left > 0; left--) {
    const begin = performance.now()
    const { status } = await edge.chat(token)
    if (status !== 200) throw new Error(`the edge answered ${status}`)
    all.push(performance.now() - begin)
  }
  return all
}

function p99(all: readonly number[]): number {
  return all.toSorted((one, other) => one - other)[Math.floor(all.length * 0.99)] ?? 0
}

/** An encrypted connection to the edge. */
async function openEncrypted(edge: Edge, protocol: string) {
  const where = { host: EDGE_ADDRESS, port: 443, localAddress: OTHER }
  const trust = { servername: SECOND, ca: edge.authority.root, ALPNProtocols: [protocol] }
  const socket = connectTls({ ...where, ...trust })
  await once(socket, 'secureConnect')
  return socket
}

async function testHead(t: Test, edge: Edge) {
  const socket = await openEncrypted(edge, 'http/1.1')
  const begin = performance.now()
  socket.write('POST /v1/chat/completions HTTP/1.1\r\nHost: ')
  const drip = setInterval(() => socket.write('a'), 1000)
  await Promise.race([once(socket.resume(), 'close'), sleep(HEAD_MS + 5000)])
  clearInterval(drip)
  socket.destroy()
  const tookMs = performance.now() - begin
  t.ok(tookMs > HEAD_MS - 2000 && tookMs < HEAD_MS + 5000, `after ${tookMs} ms`)
}

interface Upload {
  edge: Edge
  token: string
  protocol?: 'h2' | 'http/1.1'
}

/** A form that comes in as many pieces as it takes seconds. */
async function testUpload(t: Test, { edge, token, protocol = 'http/1.1' }: Upload) {
  const fileName = `${protocol.replace('/', '-')}.mp3`
  const file = Buffer.alloc(UPLOAD_SECONDS * 1000, 'x')
  const body = formBody([
    ['model', 'whisper-1'],
    ['file', fileName, file],
  ])
  const head = { ...bearer(token), ...formType(), 'content-length': String(body.length) }
  const path = '/v1/audio/transcriptions'
  const socket = await openEncrypted(edge, protocol)
  const session =
    protocol === 'h2' ? connectHttp2(`https://${SECOND}`, { createConnection: () => socket }) : undefined
  const sending = session?.request({ ':method': 'POST', ':path': path, ...head }) ?? socket
  if (session === undefined) {
    const lines = Object.entries({ host: SECOND, connection: 'close', ...head })
    const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    socket.write(`POST ${path} HTTP/1.1\r\n${text}\r\n`)
  }
  let said = ''
  sending.on('data', (bytes: Buffer) => {
    said += bytes
  })
  const ended = once(sending, 'end')
  for (let second = 0; second < UPLOAD_SECONDS; second++) {
    const piece = (at: number) => Math.floor((at * body.length) / UPLOAD_SECONDS)
    sending.write(body.subarray(piece(second), piece(second + 1)))
    await sleep(1000)
  }
  if (session !== undefined) sending.end()
  await ended
  session?.destroy()
  socket.destroy()
  t.match(said, TRANSCRIPT.text)
  const seen = edge.provider.requests.find(({ body: bytes }) => bytes.includes(fileName))
  t.ok(seen?.body.equals(body), 'byte for byte')
}

/** Requests that stand still in a few connections, each of which may hold 250. */
async function testStreams(t: Test, edge: Edge, token: string) {
  const statuses: number[] = []
  for (let connections = 3; connections > 0; connections--) {
    const socket = await openEncrypted(edge, 'h2')
    const session = connectHttp2(`https://${SECOND}`, { createConnection: () => socket })
    session.on('error', () => undefined)
    t.teardown(() => session.destroy())
    await once(session, 'remoteSettings')
    for (let left = 250; left > 0; left--) {
      const head = { ...bearer(token), ...formType(), 'content-length': '1000' }
      const stream = session.request({ ':method': 'POST', ':path': '/v1/audio/transcriptions', ...head })
      stream.on('error', () => undefined)
      stream.once('response', ({ ':status': status = 0 }) => statuses.push(status))
      stream.write('-')
    }
  }
  await poll('the first refusal', async () => statuses.length >= 750 - PER_ADDRESS || undefined)
  t.same([...new Set(statuses)], [429])
  t.equal(statuses.length, 750 - PER_ADDRESS)
  t.equal((await edge.chat(token)).status, 200, 'others are served')
}

/** The gateway stands still: what has been sent to it waits in Traefik. */
async function testUnread(t: Test, edge: Edge, token: string) {
  const begun = await states()
  const sessions: ClientHttp2Session[] = []
  t.teardown(() => {
    for (const session of sessions) session.destroy()
  })
  while (sessions.length < 0.97 * PER_ADDRESS) {
    const socket = await openEncrypted(edge, 'h2')
    const session = connectHttp2(`https://${SECOND}`, { createConnection: () => socket })
    sessions.push(session.on('error', () => undefined))
  }
  await output('docker', ['pause', 'api-gateway-prod'])
  const head = { ...bearer(token), ...formType(), 'content-length': String(2 * UNREAD.length) }
  for (const session of sessions) {
    const stream = session.request({ ':method': 'POST', ':path': '/v1/audio/transcriptions', ...head })
    stream.on('error', () => undefined)
    stream.write(UNREAD)
  }
  await sleep(20_000)
  const { 'traefik-prod': share = 1 } = await memoryShares()
  t.ok(share < 0.9, `Traefik uses ${Math.round(100 * share)} % of its memory`)
  for (const session of sessions) session.destroy()
  await output('docker', ['unpause', 'api-gateway-prod'])
  await untilServing(edge, token)
  t.same(await states(), begun, 'neither killed nor started anew')
}

async function testIpv6(t: Test) {
  for (const address of IPV6_CLIENTS) {
    await run('ip', ['-6', 'address', 'add', `${address}/128`, 'dev', 'lo'])
    t.teardown(() => run('ip', ['-6', 'address', 'del', `${address}/128`, 'dev', 'lo']))
  }
  const networks = (await inspect('haproxy-prod', '.NetworkSettings.Networks')) as Record<
    string,
    { GlobalIPv6Address: string }
  >
  const host = Object.values(networks)[0]?.GlobalIPv6Address ?? ''
  const hold = (index: number, count: number) =>
    holdConnections(t, { host, port: 8443, localAddress: IPV6_CLIENTS[index] ?? '', count })
  t.equal(await hold(0, 300), 300)
  t.equal(await hold(1, 300), PER_ADDRESS - 300, 'the rest of the block')
  t.equal(await hold(2, 300), 300, 'another block')
}

async function testCrowded(t: Test, edge: Edge, token: string) {
  edge.set({ EDGE_CONNECTIONS: '80', EDGE_CONNECTIONS_PER_ADDRESS: '40' })
  await edge.compose('up -d')
  await untilServing(edge, token)
  const hold = (localAddress: string) =>
    holdConnections(t, { host: EDGE_ADDRESS, port: 443, localAddress, count: 60 })
  t.equal(await hold(OTHER), 40, 'the limit of an address')
  t.equal(await hold(EDGE_ADDRESS), 32, 'a few')
  t.equal((await edge.chat(token)).status, 200, `${NEAR} is still served`)
}

async function testStop(t: Test, edge: Edge, token: string) {
  const running = controlled()
  edge.provider.queue(running)
  const sent = { path: '/v1/chat/completions', headers: bearer(token), body: ask(true) }
  const stream = await edge.guest.open(SECOND, sent)
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"before"}}]}\n\n')
  const stopped = run('docker', ['stop', '-t', '45', 'haproxy-prod'])
  await poll('nobody new to be let in', async () => {
    const socket = connectPlain({ host: EDGE_ADDRESS, port: 443, localAddress: NEAR })
    const reached = once(socket, 'connect').then(
      () => undefined,
      () => true,
    )
    return reached.finally(() => socket.destroy())
  })
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"after"}}]}\n\ndata: [DONE]\n\n')
  await running.end()
  const { text, cut } = await stream.rest()
  t.notOk(cut)
  t.match(text, /before.*after.*DONE/s)
  t.equal((await stopped).code, 0)
}
