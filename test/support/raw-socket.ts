import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createWaiting, type Owner } from './waiting.ts'

/** One frame as it came over the wire. */
export interface SeenFrame {
  isFinal: boolean
  opcode: number
  payload: Buffer
}

/** A WebSocket client that writes bytes by hand: whatever RFC 6455 forbids, it can send. */
export interface RawClient {
  socket: Socket
  head(): string
  frames(): SeenFrame[]
  /** Resolves with the status line and headers. */
  opened: Promise<string>
  /** Resolves when the other side has closed. */
  closed: Promise<void>
  until<T>(what: string, find: () => T | undefined, timeoutMs?: number): Promise<T>
}

export interface RawOptions {
  port: number
  path: string
  headers?: Record<string, string>
}

export function handshakeText({ path, headers = {} }: Omit<RawOptions, 'port'>): string {
  const all = {
    host: '127.0.0.1',
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': randomBytes(16).toString('base64'),
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

export function openRaw(t: Owner, options: RawOptions): RawClient {
  const socket = connect(options.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const waiting = createWaiting()
  let bytes: Buffer = Buffer.alloc(0)
  let isClosed = false
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    waiting.check()
  })
  socket.on('error', () => {})
  socket.on('end', () => socket.end())
  socket.on('close', () => {
    isClosed = true
    waiting.check()
  })
  socket.write(handshakeText(options))
  const headEnd = () => bytes.indexOf('\r\n\r\n')
  const head = () => bytes.toString('latin1', 0, Math.max(0, headEnd()))
  return {
    socket,
    head,
    frames: () => (headEnd() < 0 ? [] : readFrames(bytes.subarray(headEnd() + 4))),
    opened: waiting.until('the handshake', () => (headEnd() < 0 && !isClosed ? undefined : head()), 15_000),
    closed: isClosed ? Promise.resolve() : once(socket, 'close').then(() => undefined),
    until: waiting.until,
  }
}

/** Frames of a server: never masked. */
export function readFrames(bytes: Buffer): SeenFrame[] {
  const frames: SeenFrame[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const [first = 0, second = 0] = bytes.subarray(at, at + 2)
    let length = second & 0x7f
    let start = at + 2
    if (length === 126) {
      if (bytes.length < start + 2) break
      length = bytes.readUInt16BE(start)
      start += 2
    } else if (length === 127) {
      if (bytes.length < start + 8) break
      length = Number(bytes.readBigUInt64BE(start))
      start += 8
    }
    if (bytes.length < start + length) break
    frames.push({ isFinal: first >= 128, opcode: first & 15, payload: bytes.subarray(start, start + length) })
    at = start + length
  }
  return frames
}

export interface FrameShape {
  opcode?: number
  final?: boolean
  reserved?: number
  payload?: Buffer | string
  masked?: boolean
  /** What the head says, when it lies. */
  length?: number
  lengthBytes?: 0 | 2 | 8
}

/** A client's frame, right or wrong. */
export function frame(shape: FrameShape): Buffer {
  const { opcode = 1, final = true, reserved = 0, masked = true } = shape
  const payload = Buffer.from(shape.payload ?? '')
  const length = shape.length ?? payload.length
  const lengthBytes = shape.lengthBytes ?? (length < 126 ? 0 : length < 65_536 ? 2 : 8)
  const head = Buffer.alloc(2 + lengthBytes)
  head[0] = (final ? 0x80 : 0) | (reserved << 4) | opcode
  head[1] = (masked ? 0x80 : 0) | (lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127)
  if (lengthBytes === 2) head.writeUInt16BE(length, 2)
  if (lengthBytes === 8) head.writeBigUInt64BE(BigInt(length), 2)
  if (!masked) return Buffer.concat([head, payload])
  const mask = randomBytes(4)
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))])
}
