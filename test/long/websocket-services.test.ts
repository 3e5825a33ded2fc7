import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { WebSocket } from 'ws'
import { startEcho } from '../support/echo.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile } from '../support/models.ts'
import { frame, openRaw } from '../support/raw-socket.ts'
import { refused } from '../support/realtime.ts'

const MIB = 1024 * 1024

const openWs = (
  t: { teardown(close: () => unknown): unknown },
  url: string,
  options: object = {},
  protocols: string[] = [],
) =>
  new Promise<WebSocket>((resolve, reject) => {
    const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols, options)
    t.teardown(() => socket.terminate())
    socket.once('open', () => resolve(socket))
    socket.on('error', reject)
  })

t.test('path rest and query reach the service, credentials do not', async (t) => {
  const echo = await startEcho(t, {
    handleProtocols: (offered) => (offered.has('chat.v2') ? 'chat.v2' : false),
  })
  const target = `ws://127.0.0.1:${echo.port}/ws`
  const gateway = await startGateway(t, { env: { WS_ROUTES: `/ws=${target},/open=${target}!open` } })
  const token = await mintToken(t, gateway)
  const headers = {
    authorization: `Bearer ${token}`,
    cookie: 'session=1',
    'user-agent': 'mine/1',
    'x-request-id': 'id-1',
  }
  const first = await openWs(t, `${gateway.url}/ws?session_id=abc&x=%20y`, { headers })
  t.equal(echo.seen[0]?.url, '/ws?session_id=abc&x=%20y')
  const upward = echo.seen[0]?.headers ?? {}
  t.match(upward, { 'user-agent': 'mine/1', 'x-request-id': 'id-1', 'x-forwarded-for': '127.0.0.1' })
  t.notOk(upward.cookie || upward.authorization || JSON.stringify(upward).includes(token))
  await openWs(t, `${gateway.url}/ws/abc/def`, { headers })
  t.equal(echo.seen[1]?.url, '/ws/abc/def')
  const spoken = await openWs(t, `${gateway.url}/ws/abc`, {}, [
    'chat.v1',
    'chat.v2',
    `openai-insecure-api-key.${token}`,
  ])
  t.equal(spoken.protocol, 'chat.v2')
  t.equal(echo.seen[2]?.headers['sec-websocket-protocol'], 'chat.v1, chat.v2')
  const open = await openWs(t, `${gateway.url}/open/room`, { headers: { cookie: 'session=1' } })
  t.equal(echo.seen[3]?.url, '/ws/room')
  t.equal(echo.seen[3]?.headers.cookie, 'session=1', 'an open service knows its own users')
  await t.rejects(openWs(t, `${gateway.url}/ws`), /401/)
  const answered = new Promise((resolve) => open.once('message', (raw) => resolve(String(raw))))
  open.send('hello')
  t.equal(await answered, 'hello')
  first.close(4321, 'own reason')
  const line = await gateway.waitForLine(({ route, closeCode }) => route === '/ws' && closeCode === 4321)
  t.match(line, { status: 101, user: 'testuser' })
  t.notMatch(JSON.stringify(line), /session_id|abc/)
})

t.test(
  "a key in the URL is refused, and does not reach the service; other names are the service's own",
  async (t) => {
    const echo = await startEcho(t)
    const gateway = await startGateway(t, { env: { WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws` } })
    const token = await mintToken(t, gateway)
    for (const name of ['api_key', 'apikey', 'api-key', 'x-api-key']) {
      const url = `${gateway.url}/ws?${name}=${token}`
      for (const options of [{ url }, { url, token }]) {
        const seen = await refused(t, options)
        t.equal(seen.status, 400, name)
        t.equal(JSON.parse(seen.body).error.code, 'credential_in_url')
      }
    }
    t.equal(echo.connections(), 0)
    t.notOk(gateway.stdout().includes(token))
    const headers = { authorization: `Bearer ${token}` }
    await openWs(t, `${gateway.url}/ws?token=of-the-service&access_token=too`, { headers })
    t.equal(echo.seen[0]?.url, '/ws?token=of-the-service&access_token=too')
  },
)

t.test('the models file may name routes too, and one that is read again changes them', async (t) => {
  const [echo, other] = [await startEcho(t), await startEcho(t)]
  const path = modelsFile(t, { providers: { main: 'http://127.0.0.1:1/v1' }, models: { m: 'main' } })
  const models = readFileSync(path, 'utf8')
  const write = (routes: Record<string, string>): void =>
    writeFileSync(path, `${models}wsRoutes: ${JSON.stringify(routes)}\n`)
  write({
    '/room': `ws://127.0.0.1:${echo.port}/room!open`,
    '/room/side': `ws://127.0.0.1:${echo.port}/s!open`,
  })
  const gateway = await startGateway(t, { modelsFile: path, env: { MAIN_TEST_KEY: 'k' } })
  const reread = async (routes: Record<string, string>): Promise<void> => {
    const seen = () => gateway.lines().filter(({ msg }) => msg === 'models file re-read').length
    const before = seen()
    write(routes)
    gateway.signal('SIGHUP')
    await gateway.waitForLine(() => seen() > before)
  }
  const old = await openWs(t, `${gateway.url}/room/1?a=b`)
  t.equal(echo.seen[0]?.url, '/room/1?a=b')
  await openWs(t, `${gateway.url}/room/side/2`)
  t.equal(echo.seen[1]?.url, '/s/2', 'the longest path wins')
  await t.rejects(openWs(t, `${gateway.url}/roomy`), /404/)
  await reread({
    '/room': `ws://127.0.0.1:${other.port}/new`,
    '/hall': `ws://127.0.0.1:${other.port}/hall!open`,
  })
  await t.rejects(openWs(t, `${gateway.url}/room/1`), /401/, 'it wants a token now')
  const headers = { authorization: `Bearer ${await mintToken(t, gateway)}` }
  await openWs(t, `${gateway.url}/room/1`, { headers })
  await openWs(t, `${gateway.url}/hall`)
  t.same(
    other.seen.map(({ url }) => url),
    ['/new/1', '/hall'],
  )
  await reread({})
  await t.rejects(openWs(t, `${gateway.url}/hall`), /404/)
  t.equal((await fetch(`${gateway.url}/hall`)).status, 404)
  const answered = new Promise((resolve) => old.once('message', (raw) => resolve(String(raw))))
  old.send('still here')
  t.equal(await answered, 'still here', 'a socket that is open stays')
})

t.test('a route without a token is limited by address, and tokens are not touched by it', async (t) => {
  const echo = await startEcho(t)
  const target = `ws://127.0.0.1:${echo.port}/ws`
  const gateway = await startGateway(t, {
    env: { WS_ROUTES: `/open=${target}!open,/ws=${target}`, UNAUTHENTICATED_PER_MINUTE: '3' },
  })
  const headers = { authorization: `Bearer ${await mintToken(t, gateway)}` }
  for (let count = 1; count <= 3; count += 1) await openWs(t, `${gateway.url}/open`)
  const fourth = await refused(t, { url: `${gateway.url}/open` })
  t.equal(fourth.status, 429)
  t.match(JSON.parse(fourth.body), { error: { code: 'rate_limit_exceeded' } })
  t.ok(Number(fourth.headers['retry-after']) > 0)
  t.equal((await refused(t, { url: `${gateway.url}/ws` })).status, 429, 'guessing counts beside it')
  await openWs(t, `${gateway.url}/ws`, { headers })
  t.equal(echo.seen.length, 4)
})

t.test('a side that answers pings stays, one that does not is given up', async (t) => {
  const pongs: string[] = []
  const echo = await startEcho(t, {
    onSocket: (socket) => socket.on('pong', (payload) => pongs.push(payload.toString('hex'))),
  })
  const gateway = await startGateway(t, {
    env: { WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open`, WS_IDLE_TIMEOUT_MS: '2400' },
  })
  const alive = await openWs(t, `${gateway.url}/ws`)
  let pings = 0
  const pinged = new Promise<void>((resolve) => {
    alive.on('ping', () => {
      pings += 1
      if (pings === 5) resolve()
    })
  })
  const dead = openRaw(t, { port: gateway.port, path: '/ws' })
  const [close] = [
    await dead.until('the close', () => dead.frames().find(({ opcode }) => opcode === 8), 30_000),
  ]
  t.equal(close.payload.readUInt16BE(0), 1001)
  await pinged
  t.equal(alive.readyState, WebSocket.OPEN)
  t.same(pongs, [], "pongs to the gateway's pings stay with the gateway")
})

t.test('a message above 16 MiB closes with 1009', async (t) => {
  const echo = await startEcho(t)
  const gateway = await startGateway(t, {
    env: { WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open` },
  })
  const client = openRaw(t, { port: gateway.port, path: '/ws' })
  await client.opened
  client.socket.write(frame({ opcode: 2, length: 16 * MIB + 1, payload: '' }))
  const close = await client.until(
    'the close',
    () => client.frames().find(({ opcode }) => opcode === 8),
    15_000,
  )
  t.equal(close.payload.readUInt16BE(0), 1009)
})
