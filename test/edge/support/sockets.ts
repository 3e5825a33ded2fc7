import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Owner } from '../../support/waiting.ts'
import { EDGE_ADDRESS } from './engine.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10]

/** A frame of at most 64 KiB, as a server sends it. */
const frame = (opcode: number, payload: Buffer): Buffer => {
  const { length } = payload
  const size = length < 126 ? [length] : [126, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([0x80 | opcode, ...size]), payload])
}

/** Short masked frames, as clients send them, wherever the pieces break. */
function readFrames(socket: Duplex, onFrame: (opcode: number, payload: Buffer) => void): void {
  let left = Buffer.alloc(0)
  socket.on('data', (piece: Buffer) => {
    left = Buffer.concat([left, piece])
    for (;;) {
      const [first = 0, second = 0] = left
      const end = 6 + (second & 0x7f)
      if (left.length < 2 || left.length < end) return
      const mask = left.subarray(2, 6)
      const payload = Buffer.from(left.subarray(6, end).map((byte, at) => byte ^ (mask[at % 4] ?? 0)))
      left = left.subarray(end)
      onFrame(first & 0x0f, payload)
    }
  })
}

/** A service that speaks WebSocket and answers each text with `answer(text)`; it never pings by itself. */
export function startSocketService(t: Owner, answer: (text: string) => string): Promise<string> {
  return startSocketServiceAt(t, EDGE_ADDRESS, answer)
}

export async function startSocketServiceAt(
  t: Owner,
  address: string,
  answer: (text: string) => string,
): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((_request, response) => response.writeHead(404).end())
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.on('upgrade', (request, socket) => {
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}${GUID}`)
      .digest('base64')
    const protocol = request.headers['sec-websocket-protocol']?.split(',')[0]
    const chosen = protocol ? `Sec-WebSocket-Protocol: ${protocol}\r\n` : ''
    const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${chosen}`
    socket.write(`${head}Sec-WebSocket-Accept: ${accept}\r\n\r\n`)
    socket.on('error', () => undefined)
    readFrames(socket, (opcode, payload) => {
      if (opcode === TEXT) socket.write(frame(TEXT, Buffer.from(answer(payload.toString()))))
      if (opcode === PING) socket.write(frame(PONG, payload))
      if (opcode === CLOSE) socket.end(frame(CLOSE, payload))
    })
  })
  server.listen(0, address)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `${address}:${(server.address() as AddressInfo).port}`
}
