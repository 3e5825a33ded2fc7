import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { startGateway } from '../support/gateway.ts'

/** What a load balancer may be told to wait for an idle connection. */
const LOAD_BALANCER_SECONDS = 120

/** Asks on the connection and returns what it got, whose end it does not wait for. */
async function health(socket: Socket): Promise<string> {
  socket.write('GET /health HTTP/1.1\r\nHost: a.test\r\n\r\n')
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  return bytes.toString()
}

t.test('an idle connection outlasts the patience of a load balancer in front', async (t) => {
  const { port } = await startGateway(t)
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const [, seconds] = /keep-alive: timeout=(\d+)/i.exec(await health(socket)) ?? []
  t.ok(Number(seconds) > LOAD_BALANCER_SECONDS, `${seconds} s`)
})

t.test('KEEP_ALIVE_MS says for how long, and a connection in use stays', async (t) => {
  const { port } = await startGateway(t, { env: { KEEP_ALIVE_MS: '500' } })
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  for (const _ of [1, 2, 3]) t.match(await health(socket), '200 OK')
  const since = performance.now()
  await once(socket, 'close')
  // Node itself adds a second, so that what it told the client holds.
  t.ok(performance.now() - since < 5000)
})
