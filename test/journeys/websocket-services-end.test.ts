import t from 'tap'
import { startEcho } from '../support/echo.ts'
import { mintToken, runTokenGen, startGateway } from '../support/gateway.ts'
import { frame, openRaw } from '../support/raw-socket.ts'
import { open } from '../support/realtime.ts'
import type { Owner } from '../support/waiting.ts'

t.test(
  'what a service says reaches the client as it was said: fragments, pings, close code and reason',
  async (t) => {
    const pongs: string[] = []
    const echo = await startEcho(t, {
      onSocket(socket) {
        socket.on('pong', (payload) => {
          pongs.push(String(payload))
          socket.send('part', { fin: false })
          socket.send(' by part', { fin: true })
          socket.send(Buffer.of(1, 2), { binary: true })
          socket.close(4007, 'the room is closed')
        })
        socket.ping('are you there?')
      },
    })
    const gateway = await startGateway(t, { env: { WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws` } })
    const headers = { authorization: `Bearer ${await mintToken(t, gateway)}` }
    const client = openRaw(t, { port: gateway.port, path: '/ws', headers })
    await client.until('the ping', () => client.frames()[0])
    client.socket.write(frame({ opcode: 10, payload: 'are you there?' }))
    await client.until('the close', () => client.frames().find(({ opcode }) => opcode === 8))
    t.same(
      client.frames().map(({ opcode, isFinal, payload }) => [opcode, isFinal, payload.toString('latin1')]),
      [
        [9, true, 'are you there?'],
        [1, false, 'part'],
        [0, true, ' by part'],
        [2, true, '\x01\x02'],
        [8, true, '\x0f\xa7the room is closed'],
      ],
    )
    t.same(pongs, ['are you there?'])
  },
)

/** One socket to a service that wants a token, and one to a service that does not. */
async function bothKinds(t: Owner, env: Record<string, string> = {}) {
  const ended: Promise<number>[] = []
  const echo = await startEcho(t, {
    onSocket: (socket) => void ended.push(new Promise((resolve) => socket.on('close', resolve))),
  })
  const target = `ws://127.0.0.1:${echo.port}/ws`
  const gateway = await startGateway(t, { env: { WS_ROUTES: `/ws=${target},/open=${target}!open`, ...env } })
  const token = await mintToken(t, gateway)
  const paid = await open(t, { url: `${gateway.url}/ws`, token })
  const free = await open(t, { url: `${gateway.url}/open` })
  return { gateway, paid, free, ended }
}

t.test('SIGTERM closes the sockets of services with 1012 after the grace period', async (t) => {
  const { gateway, paid, free, ended } = await bothKinds(t, { DRAIN_TIMEOUT_MS: '300' })
  const [exit, ...closed] = await Promise.all([gateway.stop(), paid.closed, free.closed])
  t.equal(exit.code, 0)
  t.ok(exit.ms >= 300)
  const said = { code: 1012, reason: 'service restart' }
  t.same(closed, [said, said])
  t.same(await Promise.all(ended), [1001, 1001], 'the services hear of it')
})

t.test('a revoked token closes its sockets to services, and no others', async (t) => {
  const { gateway, paid, free, ended } = await bothKinds(t)
  const { stdout } = await runTokenGen(t, gateway.dbDir, ['--list', '--json'])
  const tokens: { id: string; user: string }[] = JSON.parse(stdout)
  await runTokenGen(t, gateway.dbDir, ['--revoke', tokens.find(({ user }) => user === 'testuser')?.id ?? ''])
  t.match(await paid.closed, { code: 1008, reason: /no longer valid/ })
  t.equal(await ended[0], 1001)
  t.equal(free.socket.readyState, WebSocket.OPEN)
})
