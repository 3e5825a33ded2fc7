import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { memoryBytes } from '../../bench/measure.ts'
import { startGateway } from '../support/gateway.ts'

const GIB = 1024 ** 3
const PIECE = Buffer.alloc(1024 * 1024, 'x')
/**
 * What a gateway may grow by while 1 GiB passes, whichever way: buffers of sockets, and what is not collected yet, which on
 * a busy machine is more. A body that is kept would be eight times as much.
 */
const MOST_GROWTH = 128 * 1024 * 1024

const writeAll = async (stream: Writable): Promise<void> => {
  for (let sent = 0; sent < GIB; sent += PIECE.length) if (!stream.write(PIECE)) await once(stream, 'drain')
}

const count = async (stream: IncomingMessage): Promise<number> => {
  let bytes = 0
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  await once(stream, 'end')
  return bytes
}

const openScene = async (t: Test) => {
  const seen: number[] = []
  const server = createServer(async (request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-length': GIB })
      await writeAll(response)
      return void response.end()
    }
    seen.push(await count(request))
    response.end('all')
  })
  server.requestTimeout = 0
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const gateway = await startGateway(t, {
    env: { PASSTHROUGH_PATHS: `/big=http://127.0.0.1:${port}!open`, SERVICE_REQUESTS_PER_MINUTE: '1000' },
  })
  return { gateway, seen }
}

/** The most that the process has while `work` goes on, less what it had before. */
const growthWhile = async (pid: number, work: () => Promise<unknown>): Promise<number> => {
  const before = memoryBytes(pid)
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, memoryBytes(pid))
  }, 50)
  await work()
  clearInterval(timer)
  return most - before
}

/** Reads an answer to its end; `pauseMs` of a reader that stops once in a while. */
const download = async (port: number, isSlow: boolean): Promise<number> => {
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /big/file HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  let bytes = 0
  let nextPause = GIB / 8
  for await (const chunk of socket) {
    bytes += (chunk as Buffer).length
    if (!isSlow || bytes < nextPause) continue
    nextPause += GIB / 8
    await new Promise((go) => setTimeout(go, 100))
  }
  return bytes
}

const upload = async (port: number, head: string, frame: (piece: Buffer) => Buffer, end: string) => {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk) => {
    answer += String(chunk)
  })
  const closed = once(socket, 'close')
  socket.write(`POST /big/up HTTP/1.1\r\nhost: a\r\n${head}\r\nconnection: close\r\n\r\n`)
  const framed = frame(PIECE)
  for (let sent = 0; sent < GIB; sent += PIECE.length) if (!socket.write(framed)) await once(socket, 'drain')
  if (end !== '') socket.write(end)
  await closed
  return answer
}

t.test('1 GiB passes down, to a quick reader and to one that stops, in flat memory', async (t) => {
  const { gateway } = await openScene(t)
  for (const isSlow of [false, true]) {
    let bytes = 0
    const growth = await growthWhile(gateway.pid, async () => {
      bytes = await download(gateway.port, isSlow)
    })
    t.ok(bytes > GIB && bytes < GIB + 2000, `${bytes}`)
    t.ok(growth < MOST_GROWTH, `it grew by ${Math.round(growth / 1024 / 1024)} MiB`)
  }
})

t.test('1 GiB passes up, with its length and in chunks, in flat memory', async (t) => {
  const { gateway, seen } = await openScene(t)
  const chunk = Buffer.concat([Buffer.from(`${PIECE.length.toString(16)}\r\n`), PIECE, Buffer.from('\r\n')])
  const ways = [
    [`content-length: ${GIB}`, (piece: Buffer) => piece, ''],
    ['transfer-encoding: chunked', () => chunk, '0\r\n\r\n'],
  ] as const
  for (const [head, frame, end] of ways) {
    let answer = ''
    const growth = await growthWhile(gateway.pid, async () => {
      answer = await upload(gateway.port, head, frame, end)
    })
    t.match(answer, /^HTTP\/1\.1 200 /, head)
    t.equal(seen.at(-1), GIB)
    t.ok(growth < MOST_GROWTH, `it grew by ${Math.round(growth / 1024 / 1024)} MiB`)
  }
  const line = await gateway.waitForLine(({ bytesIn }) => bytesIn === GIB)
  t.equal(line.route, '/big')
})
