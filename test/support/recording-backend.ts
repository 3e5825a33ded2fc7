import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { readBody } from './service-model.ts'
import type { Owner } from './waiting.ts'

/** A request as it came over the wire: every letter is a byte. */
export interface Recorded {
  line: string
  /** Names in lower case, values as they came, in their order. */
  headers: readonly (readonly [string, string])[]
  body: string
  trailers: string
}

export interface RecordingBackend {
  port: number
  requests: Recorded[]
  /** What it could not read as requests one after the other. */
  garbage: string[]
}

/** A service by hand, on node:net: it keeps the bytes of each request, and answers 200. */
export async function startRecordingBackend(t: Owner): Promise<RecordingBackend> {
  const sockets = new Set<Socket>()
  const backend: RecordingBackend = { port: 0, requests: [], garbage: [] }
  const server = createServer((socket) => {
    sockets.add(socket)
    let bytes = ''
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      bytes = readAll(bytes + chunk.toString('latin1'), socket, backend)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  backend.port = (server.address() as AddressInfo).port
  return backend
}

/** Answers each whole request of `bytes`, and returns what is left of them. */
function readAll(bytes: string, socket: Socket, backend: RecordingBackend): string {
  for (let rest = bytes; ; ) {
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0) return rest
    const [line = '', ...lines] = rest.slice(0, end).split('\r\n')
    const headers = lines.map((each) => {
      const [name = '', value] = each.split(/: (.*)/s)
      if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name) || value === undefined) backend.garbage.push(each)
      return [name.toLowerCase(), value ?? ''] as const
    })
    const body = readBody(headers, rest.slice(end + 4))
    if (body === 'wrong') {
      backend.garbage.push(rest)
      socket.destroy()
      return ''
    }
    if (body === 'unfinished') return rest
    backend.requests.push({ line, headers, body: body.body, trailers: body.trailers })
    socket.write(line.startsWith('HEAD ') ? HEAD_ANSWER : ANSWER)
    rest = body.rest
  }
}

const HEAD_ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n'
const ANSWER = `${HEAD_ANSWER}ok`
