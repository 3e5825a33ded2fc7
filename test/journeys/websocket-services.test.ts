import { readFileSync } from 'node:fs'
import t from 'tap'
import { WebSocket } from 'ws'
import { startEcho } from '../support/echo.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile } from '../support/models.ts'
import { frame, openRaw } from '../support/raw-socket.ts'

const MIB = 1024 * 1024
const rssOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024

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

t.test('the models file may name routes too', async (t) => {
  const echo = await startEcho(t)
  const { writeFileSync } = await import('node:fs')
  const path = modelsFile(t, { providers: { main: 'http://127.0.0.1:1/v1' }, models: { m: 'main' } })
  writeFileSync(
    path,
    `${readFileSync(path, 'utf8')}wsRoutes:\n  /room: ws://127.0.0.1:${echo.port}/room!open\n`,
  )
  const gateway = await startGateway(t, { modelsFile: path, env: { MAIN_TEST_KEY: 'k' } })
  const socket = await openWs(t, `${gateway.url}/room/1?a=b`)
  t.equal(echo.seen[0]?.url, '/room/1?a=b')
  socket.close()
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

t.test('readers that stall cost less than 1 MiB each, in both directions', async (t) => {
  const readers = 40
  const chunk = Buffer.alloc(64 * 1024)
  let sent = 0
  const echo = await startEcho(t, {
    onSocket(socket, request) {
      if (request.url === '/ws/mute') return socket.pause()
      const pump = (): void => {
        if (sent > readers * 64 * MIB || socket.readyState !== WebSocket.OPEN) return
        socket.send(chunk, () => {
          if (request.url === '/ws/push') sent += chunk.length
          pump()
        })
      }
      pump()
    },
  })
  const gateway = await startGateway(t, {
    env: {
      WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open`,
      WS_SOCKETS_PER_TOKEN: '1000',
      UNAUTHENTICATED_PER_MINUTE: '1000000',
    },
  })
  const settled = async (read: () => number): Promise<number> => {
    for (let last = -1; ; ) {
      const now = read()
      if (now === last) return now
      last = now
      await new Promise((resolve) => setTimeout(resolve, 700))
    }
  }
  // What has passed is garbage for a while: before each measurement a reader that keeps up makes as much of it.
  const measure = async (): Promise<number> => {
    const reader = await openWs(t, `${gateway.url}/ws/swift`)
    await new Promise<void>((resolve) => {
      let read = 0
      reader.on('message', (message: Buffer) => {
        read += message.length
        if (read > 200 * MIB) resolve()
      })
    })
    reader.terminate()
    return rssOf(gateway.pid)
  }
  const before = await measure()
  sent = 0
  const stalled = await Promise.all(
    Array.from({ length: readers }, async () => {
      const socket = await openWs(t, `${gateway.url}/ws/push`)
      socket.pause()
      return socket
    }),
  )
  const pushed = await settled(() => sent)
  const down = ((await measure()) - before) / readers
  t.ok(
    pushed > readers * MIB && pushed < readers * 32 * MIB,
    `${Math.round(pushed / MIB)} MiB were on their way`,
  )
  t.ok(down < MIB, `toward clients: ${Math.round(down / 1024)} KiB for each stalled reader`)
  for (const socket of stalled) socket.terminate()
  let written = 0
  const middle = await measure()
  const bytes = frame({ opcode: 2, payload: chunk })
  const senders = Array.from({ length: readers }, () => openRaw(t, { port: gateway.port, path: '/ws/mute' }))
  await Promise.all(senders.map(({ opened }) => opened))
  for (const { socket } of senders) {
    const pump = (): void => {
      if (written > readers * 64 * MIB || socket.destroyed) return
      socket.write(bytes, () => {
        written += bytes.length
        pump()
      })
    }
    pump()
  }
  const pulled = await settled(() => written)
  const up = ((await measure()) - middle) / readers
  t.ok(
    pulled > readers * MIB && pulled < readers * 32 * MIB,
    `${Math.round(pulled / MIB)} MiB were on their way`,
  )
  t.ok(up < MIB, `toward services: ${Math.round(up / 1024)} KiB for each stalled reader`)
})

t.test('500 sockets are open at once and all answer', async (t) => {
  const echo = await startEcho(t)
  const gateway = await startGateway(t, {
    env: {
      WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open`,
      WS_SOCKETS_PER_TOKEN: '1000',
      UNAUTHENTICATED_PER_MINUTE: '1000000',
    },
  })
  const warm = await Promise.all(Array.from({ length: 50 }, () => openWs(t, `${gateway.url}/ws`)))
  for (const socket of warm) socket.terminate()
  const before = rssOf(gateway.pid)
  const sockets: WebSocket[] = []
  for (let wave = 0; wave < 10; wave += 1)
    sockets.push(...(await Promise.all(Array.from({ length: 50 }, () => openWs(t, `${gateway.url}/ws`)))))
  t.comment(`${Math.round((rssOf(gateway.pid) - before) / 500 / 1024)} KiB for each idle socket`)
  const answers = await Promise.all(
    sockets.map(
      (socket, index) =>
        new Promise<boolean>((resolve) => {
          socket.once('message', (raw) => resolve(String(raw) === `hello ${index}`))
          socket.send(`hello ${index}`)
        }),
    ),
  )
  t.equal(answers.filter(Boolean).length, 500)
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
