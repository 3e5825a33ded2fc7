import { randomBytes } from 'node:crypto'

export const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** Why a connection must end: a broken rule of RFC 6455, or a message that is too long. */
export type Violation = 1002 | 1009

/** A client's frames are masked, a server's are not; one of these is filled again for every frame. */
export class FrameHead {
  isFinal = false
  opcode = 0
  hasReservedBits = false
  isMasked = false
  length = 0
  /** Where the four bytes of the mask begin; meaningless when it is not masked. */
  maskAt = 0

  get isControl(): boolean {
    return this.opcode >= 8
  }

  /** Reads the head that begins at `at`: its size in bytes, or 0 while some of it is missing. */
  read(bytes: Buffer, at: number): number {
    const have = bytes.length - at
    if (have < 2) return 0
    const first = bytes[at] ?? 0
    const second = bytes[at + 1] ?? 0
    const short = second & 0x7f
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
    this.isMasked = (second & 0x80) !== 0
    const size = 2 + lengthBytes + (this.isMasked ? 4 : 0)
    if (have < size) return 0
    this.isFinal = (first & 0x80) !== 0
    this.hasReservedBits = (first & 0x70) !== 0
    this.opcode = first & 0x0f
    this.maskAt = at + 2 + lengthBytes
    this.length = short
    if (lengthBytes === 2) this.length = bytes.readUInt16BE(at + 2)
    if (lengthBytes === 8) this.length = bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6)
    return size
  }
}

/** What is known of the message that a frame may belong to. */
export interface MessageState {
  mustBeMasked: boolean
  isFragmented: boolean
  bytes: number
  maxBytes: number
}

/** RFC 6455 section 5.2 to 5.5; undefined: the frame may pass. */
export function findViolation(head: FrameHead, message: MessageState): Violation | undefined {
  if (head.hasReservedBits || head.isMasked !== message.mustBeMasked) return 1002
  if (head.isControl)
    return head.opcode > OPCODES.pong || !head.isFinal || head.length > 125 ? 1002 : undefined
  if (head.opcode > OPCODES.binary) return 1002
  if ((head.opcode === OPCODES.continuation) !== message.isFragmented) return 1002
  return message.bytes + head.length > message.maxBytes ? 1009 : undefined
}

const LEAST_WORD_BYTES = 256

/** A copy of masked payload bytes in the clear; `offset`: how much of the frame's payload came before them. */
export function unmask(bytes: Buffer, mask: Buffer, offset: number): Buffer {
  const { length } = bytes
  const clear = Buffer.allocUnsafe(length)
  // Word by word where that pays: of a long message, such as audio, all is read.
  const wordBytes = length < LEAST_WORD_BYTES || clear.byteOffset % 4 !== 0 ? 0 : length - (length % 4)
  if (wordBytes > 0) {
    bytes.copy(clear)
    const key = Uint8Array.from([0, 1, 2, 3], (index) => mask[(offset + index) & 3] ?? 0)
    const [word = 0] = new Uint32Array(key.buffer)
    const words = new Uint32Array(clear.buffer, clear.byteOffset, wordBytes / 4)
    for (let index = 0; index < words.length; index++) words[index] = (words[index] ?? 0) ^ word
  }
  for (let index = wordBytes; index < length; index++)
    clear[index] = (bytes[index] ?? 0) ^ (mask[(offset + index) & 3] ?? 0)
  return clear
}

function writeLength(length: number): Buffer {
  if (length < 126) return Buffer.of(0, length)
  const isShort = length < 65_536
  const head = Buffer.alloc(isShort ? 4 : 10)
  head[1] = isShort ? 126 : 127
  if (isShort) head.writeUInt16BE(length, 2)
  else head.writeUInt32BE(length, 6)
  return head
}

/** A whole frame of our own; `isMasked` when it goes to a server. */
export function writeFrame(opcode: number, payload: Buffer, isMasked: boolean): Buffer {
  const head = writeLength(payload.length)
  head[0] = 0x80 | opcode
  if (!isMasked) return Buffer.concat([head, payload])
  head[1] = (head[1] ?? 0) | 0x80
  const mask = randomBytes(4)
  return Buffer.concat([head, mask, unmask(payload, mask, 0)])
}

const MAX_REASON_BYTES = 123

export function writeClose(code: number, reason: string, isMasked: boolean): Buffer {
  const payload = Buffer.alloc(2 + Math.min(Buffer.byteLength(reason), MAX_REASON_BYTES))
  payload.writeUInt16BE(code, 0)
  payload.write(reason, 2)
  return writeFrame(OPCODES.close, payload, isMasked)
}

/** The code of a close frame's payload; 1005 when it names none (section 7.1.5). */
export function readCloseCode(payload: Buffer): number {
  return payload.length >= 2 ? payload.readUInt16BE(0) : 1005
}
