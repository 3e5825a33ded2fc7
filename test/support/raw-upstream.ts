import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createWaiting, type Owner } from './waiting.ts'

/** What becomes of a handshake, byte by byte. */
export type HandshakeMode =
  | 'open'
  | 'hang'
  | 'reset'
  | 'reset in the head'
  | 'reset after the head'
  | 'reset in a frame'
  | 'garbage'
  | 'wrong key'
  | 'unasked extension'
  | 'unasked protocol'
  | 'redirect'

export interface RawUpstream {
  port: number
  mode: HandshakeMode
  sockets: Set<Socket>
  /** The handshakes it has read, in order. */
  seen: { path: string; socket: Socket }[]
  /** The socket of the handshake that asked for this path. */
  socketOf(path: string): Promise<Socket>
  until<T>(what: string, find: () => T | undefined, timeoutMs?: number): Promise<T>
}

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

function headFor(mode: HandshakeMode, key: string): string {
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64')
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade']
  lines.push(`Sec-WebSocket-Accept: ${mode === 'wrong key' ? 'AAAA' : accept}`)
  if (mode === 'unasked extension') lines.push('Sec-WebSocket-Extensions: permessage-deflate')
  if (mode === 'unasked protocol') lines.push('Sec-WebSocket-Protocol: never-offered')
  return `${lines.join('\r\n')}\r\n\r\n`
}

function act(socket: Socket, mode: HandshakeMode, head: string): void {
  const key = /sec-websocket-key: (\S+)/i.exec(head)?.[1] ?? ''
  if (mode === 'hang') return
  if (mode === 'reset') return void socket.resetAndDestroy()
  if (mode === 'garbage') return void socket.end('\x00\x01 no HTTP\r\n\r\n')
  if (mode === 'redirect')
    return void socket.end('HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n')
  const reset = () => socket.resetAndDestroy()
  if (mode === 'reset in the head') return void socket.write('HTTP/1.1 101 Switching', reset)
  const answer = headFor(mode, key)
  if (mode === 'reset after the head') return void socket.write(answer, reset)
  // A text of 100 bytes of which ten come.
  if (mode === 'reset in a frame') return void socket.write(`${answer}\x81\x64${'x'.repeat(10)}`, reset)
  socket.write(answer)
}

/** A service that speaks as much WebSocket as it is told to. */
export async function startRawUpstream(t: Owner): Promise<RawUpstream> {
  const sockets = new Set<Socket>()
  const waiting = createWaiting()
  const seen: RawUpstream['seen'] = []
  const server = createServer((socket) => {
    sockets.add(socket)
    let head = ''
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      waiting.check()
    })
    socket.on('data', (bytes) => {
      if (head.endsWith('\r\n\r\n')) return
      head += bytes.toString('latin1')
      if (!head.endsWith('\r\n\r\n')) return
      seen.push({ path: head.split(' ', 2)[1] ?? '', socket })
      act(socket, upstream.mode, head)
      waiting.check()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const { port } = server.address() as AddressInfo
  const upstream: RawUpstream = {
    port,
    mode: 'open',
    sockets,
    seen,
    socketOf: async (path) => {
      const find = () => seen.find((handshake) => handshake.path === path)
      return (await waiting.until(`a handshake for ${path}`, find, 20_000)).socket
    },
    until: waiting.until,
  }
  return upstream
}
