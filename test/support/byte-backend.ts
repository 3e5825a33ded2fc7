import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createWaiting, type Owner } from './waiting.ts'

/** One request as it came over the wire. */
export interface SeenRequest {
  /** Request line and fields, each line as it came. */
  lines: string[]
  /** All values of a field, by its name in lower case. */
  field(name: string): string | undefined
  socket: Socket
  /** What came behind the head so far, framing included. */
  body(): string
}

/** What answers a request; it may write when and what it likes. */
export type Act = (request: SeenRequest) => unknown

export interface ByteBackend {
  port: number
  origin: string
  act: Act
  seen: SeenRequest[]
  sockets: Set<Socket>
  until<T>(what: string, find: () => T | undefined, timeoutMs?: number): Promise<T>
  close(): void
}

export function reply(text: string, head = 'HTTP/1.1 200 OK'): Act {
  return ({ socket }) => void socket.write(`${head}\r\ncontent-length: ${text.length}\r\n\r\n${text}`)
}

/** A service that records each byte and answers in bytes: one request after the other, bodies by their framing. */
export async function startByteBackend(t: Owner, act: Act = reply('ok')): Promise<ByteBackend> {
  const sockets = new Set<Socket>()
  const waiting = createWaiting()
  const server = createServer((socket) => {
    sockets.add(socket)
    let held = ''
    let current: { body: string } | undefined
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      waiting.check()
    })
    const read = (): void => {
      if (current && isOver(current)) current = undefined
      const end = held.indexOf('\r\n\r\n')
      if (current || end < 0) return
      const lines = held.slice(0, end).split('\r\n')
      const one = { body: held.slice(end + 4), framing: framingOf(lines) }
      held = ''
      current = one
      const request: SeenRequest = {
        lines,
        field: (name) => fieldOf(lines, name),
        socket,
        body: () => one.body,
      }
      backend.seen.push(request)
      void backend.act(request)
      if (isOver(one)) current = undefined
    }
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1')
      if (current && !isOver(current)) current.body += text
      else held += text
      read()
      waiting.check()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(close)
  const backend: ByteBackend = {
    port,
    origin: `http://127.0.0.1:${port}`,
    act,
    seen: [],
    sockets,
    until: (what, find, timeoutMs) => waiting.until(what, find, timeoutMs),
    close,
  }
  return backend
}

function fieldOf(lines: readonly string[], name: string): string | undefined {
  const values = lines.slice(1).flatMap((line) => {
    const colon = line.indexOf(':')
    return line.slice(0, colon).toLowerCase() === name ? [line.slice(colon + 1).trim()] : []
  })
  return values.length === 0 ? undefined : values.join(', ')
}

type Framing = number | 'chunked'

function framingOf(lines: readonly string[]): Framing {
  if (fieldOf(lines, 'transfer-encoding') !== undefined) return 'chunked'
  return Number(fieldOf(lines, 'content-length') ?? 0)
}

function isOver(one: { body: string; framing?: Framing }): boolean {
  if (one.framing === 'chunked') return /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n$/.test(one.body)
  return one.body.length >= (one.framing ?? 0)
}
