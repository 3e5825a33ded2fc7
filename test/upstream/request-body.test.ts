import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t from 'tap'
import { Deadlines } from '../../src/deadlines.ts'
import type { RequestBody } from '../../src/upstream/request-body.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'

const MIB = 1024 * 1024
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

interface Owner {
  teardown(close: () => unknown): void
}

/** A server that reads when it is told to, and answers when so many bytes of the body are there. */
async function serve(t: Owner, bodyBytes: number) {
  const pieces: Buffer[] = []
  const sockets: Socket[] = []
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    sockets.push(socket)
    let seen = 0
    let head = -1
    socket
      .on('error', () => undefined)
      .on('data', (bytes: Buffer) => {
        pieces.push(bytes)
        seen += bytes.length
        if (head === -1) head = Buffer.concat(pieces).indexOf('\r\n\r\n') + 4
        if (seen === head + bodyBytes) socket.write(OK)
      })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const connected = once(server, 'connection')
  const upstreams = openUpstreams({ connectTimeoutMs: 5_000 }, new Deadlines())
  t.teardown(() => upstreams.close())
  const ask = (body: RequestBody): Promise<string> =>
    new Promise((resolve) => {
      const request = { path: '/v1/x', headers: [], body, answerTimeoutMs: 20_000, idleTimeoutMs: 20_000 }
      upstreams.ask(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, request, {
        answered: () => true,
        data: () => undefined,
        ended: () => resolve('ended'),
        failed: (error) => resolve(String(error)),
      })
    })
  const body = () => {
    const all = Buffer.concat(pieces)
    return all.subarray(all.indexOf('\r\n\r\n') + 4)
  }
  const read = async () => {
    await connected
    for (const socket of sockets) socket.resume()
  }
  return { ask, body, read, connected }
}

t.test('a body of 800,000 pieces leaves whole', async (t) => {
  const pieces = Array.from({ length: 800_000 }, (_, i) => Buffer.from(`${i % 10}`))
  const server = await serve(t, pieces.length)
  const asked = server.ask({ body: pieces, length: pieces.length })
  await server.read()
  t.equal(await asked, 'ended')
  t.ok(server.body().equals(Buffer.concat(pieces)))
})

t.test('pieces of any sizes leave in their order, and none twice', async (t) => {
  const sizes = [0, 1, 300_000, 5, 0, 262_144, 262_143, 1, 70_000, 1_000_000, 3]
  const pieces = sizes.map((size, i) => Buffer.alloc(size, 97 + i))
  const length = sizes.reduce((sum, size) => sum + size, 0)
  const server = await serve(t, length)
  const asked = server.ask({ body: pieces, length })
  await server.read()
  t.equal(await asked, 'ended')
  t.ok(server.body().equals(Buffer.concat(pieces)))
})

t.test('what a slow provider does not take waits in the body, not in the socket', async (t) => {
  let queued = 0
  const watch = (message: unknown): void => {
    if (typeof message !== 'object' || message === null) return
    const { socket } = message as { socket: Socket }
    const look = setInterval(() => {
      queued = Math.max(queued, socket.writableLength)
    }, 2)
    socket.once('close', () => clearInterval(look))
  }
  subscribe('net.client.socket', watch)
  t.teardown(() => unsubscribe('net.client.socket', watch))
  const whole = Buffer.alloc(24 * MIB, 'x')
  const server = await serve(t, whole.length)
  const asked = server.ask({ body: whole, length: undefined })
  await server.connected
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.ok(queued > 0 && queued < MIB, `${queued} bytes in the queue`)
  await server.read()
  t.equal(await asked, 'ended')
  t.ok(queued < MIB, `${queued} bytes in the queue`)
  t.ok(server.body().equals(whole))
})
