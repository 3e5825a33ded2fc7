import type { Framing } from './response-head.ts'
import { UpstreamError } from './upstream-error.ts'

/** Takes the framing off a body, whatever the pieces it comes in. */
export interface BodyReader {
  /** The payload of these bytes, moved together inside them. Throws `BAD_ANSWER`. */
  read(bytes: Buffer): Buffer
  isComplete(): boolean
  /** Something came behind the end: the connection cannot be trusted with another request. */
  hasSurplus(): boolean
}

export const createBodyReader = (framing: Framing): BodyReader => {
  if (framing === 'chunked') return new ChunkedReader()
  return new PlainReader(framing === 'close' ? Number.POSITIVE_INFINITY : framing.length)
}

/** A body of known length, or one that ends with its connection. */
class PlainReader implements BodyReader {
  #left: number
  #hasSurplus = false

  constructor(length: number) {
    this.#left = length
  }

  read(bytes: Buffer): Buffer {
    if (bytes.length <= this.#left) {
      this.#left -= bytes.length
      return bytes
    }
    this.#hasSurplus = true
    const last = bytes.subarray(0, this.#left)
    this.#left = 0
    return last
  }

  isComplete(): boolean {
    return this.#left === 0
  }

  hasSurplus(): boolean {
    return this.#hasSurplus
  }
}

const CR = 0x0d
const LF = 0x0a
const SEMICOLON = 0x3b
/** Beyond it a size is an attack: 2^48 bytes. */
const MAX_SIZE_DIGITS = 12
const MAX_EXTENSION_BYTES = 1024
const MAX_TRAILER_BYTES = 16 * 1024

type ChunkState =
  | 'size'
  | 'extension'
  | 'size-end'
  | 'payload'
  | 'payload-cr'
  | 'payload-lf'
  | 'trailer-start'
  | 'trailer'
  | 'trailer-end'
  | 'last-lf'
  | 'done'

/**
 * Chunked transfer coding (RFC 9112 section 7.1). The payload of one read is moved together inside its own buffer, so
 * that fifty small chunks become one piece without a new buffer for each. Extensions and trailers are read past.
 */
class ChunkedReader implements BodyReader {
  #state: ChunkState = 'size'
  #left = 0
  #digits = 0
  /** Bytes of the extension or the trailers so far. */
  #skipped = 0
  #hasSurplus = false

  read(bytes: Buffer): Buffer {
    let [at, base, used] = [0, 0, 0]
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state !== 'payload') {
        at = this.#readBetween(bytes, at)
        continue
      }
      const length = Math.min(this.#left, bytes.length - at)
      if (used === 0) base = at
      else bytes.copyWithin(base + used, at, at + length)
      used += length
      at += length
      this.#left -= length
      if (this.#left === 0) this.#state = 'payload-cr'
    }
    if (at < bytes.length) this.#hasSurplus = true
    return bytes.subarray(base, base + used)
  }

  isComplete(): boolean {
    return this.#state === 'done'
  }

  hasSurplus(): boolean {
    return this.#hasSurplus
  }

  /** One byte of what stands between two payloads; all of it when it is there and as plain as it nearly always is. */
  #readBetween(bytes: Buffer, at: number): number {
    if (this.#state !== 'payload-cr' || bytes[at] !== CR || bytes[at + 1] !== LF) {
      this.#step(bytes[at] ?? 0)
      return at + 1
    }
    this.#state = 'size'
    this.#digits = 0
    let [next, size] = [at + 2, 0]
    for (let digit = hexDigit(bytes[next] ?? 0); digit !== -1; digit = hexDigit(bytes[next] ?? 0)) {
      size = size * 16 + digit
      next += 1
    }
    const isPlain =
      next - at - 2 <= MAX_SIZE_DIGITS && size > 0 && bytes[next] === CR && bytes[next + 1] === LF
    if (!isPlain) return at + 2
    this.#left = size
    this.#state = 'payload'
    return next + 2
  }

  #step(byte: number): void {
    switch (this.#state) {
      case 'size':
        return this.#readSize(byte)
      case 'extension':
        this.#skip(MAX_EXTENSION_BYTES)
        if (byte === CR) this.#state = 'size-end'
        else if (byte === LF) throw badChunk()
        return
      case 'size-end':
        expect(byte, LF)
        this.#state = this.#left === 0 ? 'trailer-start' : 'payload'
        return
      case 'payload-cr':
        return this.#expect(byte, CR, 'payload-lf')
      case 'payload-lf':
        this.#digits = 0
        return this.#expect(byte, LF, 'size')
      default:
        return this.#readTrailer(byte)
    }
  }

  #readSize(byte: number): void {
    const digit = hexDigit(byte)
    if (digit !== -1) {
      this.#digits += 1
      if (this.#digits > MAX_SIZE_DIGITS) throw badChunk()
      this.#left = (this.#digits === 1 ? 0 : this.#left * 16) + digit
      return
    }
    if (this.#digits === 0) throw badChunk()
    this.#skipped = 0
    if (byte === CR) this.#state = 'size-end'
    else if (byte === SEMICOLON) this.#state = 'extension'
    else throw badChunk()
  }

  #readTrailer(byte: number): void {
    this.#skip(MAX_TRAILER_BYTES)
    if (this.#state === 'trailer-start') this.#state = byte === CR ? 'last-lf' : 'trailer'
    else if (this.#state === 'last-lf') this.#expect(byte, LF, 'done')
    else if (this.#state === 'trailer-end') this.#expect(byte, LF, 'trailer-start')
    else if (byte === CR) this.#state = 'trailer-end'
  }

  #expect(byte: number, wanted: number, next: ChunkState): void {
    expect(byte, wanted)
    this.#state = next
  }

  #skip(most: number): void {
    this.#skipped += 1
    if (this.#skipped > most) throw badChunk()
  }
}

const expect = (byte: number, wanted: number): void => {
  if (byte !== wanted) throw badChunk()
}

const hexDigit = (byte: number): number => {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}

const badChunk = () => new UpstreamError('BAD_ANSWER', 'The chunks of the answer are malformed')
