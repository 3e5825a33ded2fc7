import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { waitUntil } from '../support/journey.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import { openWire, requestText } from '../support/wire.ts'

const OPEN = { prefix: '/api', entry: 'open' } as const

const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`
const at = (origin: string) => ({ origin, basePath: '' })

t.test('a reader may be slower than its service, but not stand still for good', async (t) => {
  const backend = await startByteBackend(t)
  const env = { IDLE_TIMEOUT_MS: '1200' }
  const { port, gateway, lineOf } = await openServiceGateway(
    t,
    [{ ...OPEN, targets: [at(backend.origin)], timeouts: { idleMs: 200 } }],
    { env },
  )
  const mebibytes = (count: number) => Buffer.alloc(count * 1024 * 1024, 'x')
  backend.act = ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 16777216\r\n\r\n')
    socket.write(mebibytes(16))
  }
  const slow = openWire(t, port, requestText('GET /api/x'))
  slow.socket.pause()
  await sleep(600)
  slow.socket.resume()
  t.ok((await slow.whole()).length > 16 * 1024 * 1024, 'a pause of three times the silence of a service')
  await lineOf('/api')

  const sockets: Socket[] = []
  gateway.app.server.on('connection', (socket: Socket) => sockets.push(socket))
  backend.act = async ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
    const piece = chunk('x'.repeat(16 * 1024))
    // Until the client's system takes no more: a little waits at the gateway, which would take more, and it is the last.
    const isStuck = async () => sockets[0]?.writableLength && (await sleep(40, sockets[0].writableLength))
    while (!(await isStuck()) && !socket.destroyed) {
      socket.write(piece)
      await sleep(1)
    }
    socket.write('0\r\n\r\n')
  }
  const still = openWire(t, port, 'GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n')
  still.socket.pause()
  await lineOf('/api')
  t.ok(sockets[0]?.destroyed, 'its place is free again')
})

t.test('requests that were sent at once and left leave nothing behind', async (t) => {
  const backend = await startByteBackend(t, () => {})
  const { port, gateway } = await openServiceGateway(t, [{ ...OPEN, targets: [at(backend.origin)] }])
  const line = 'GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n'
  const wire = openWire(t, port, line + line + line)
  await backend.until('all of them', () => backend.seen[2])
  t.equal(gateway.running(), 3)
  wire.socket.destroy()
  await waitUntil(gateway.running, (running) => running === 0)
  await backend.until(
    'their connections',
    () => backend.seen.every(({ socket }) => socket.closed) || undefined,
  )
})
