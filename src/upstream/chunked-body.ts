import { readFieldLines } from './heads.ts'
import { UpstreamError } from './rules.ts'
import { keepTrailers } from './trailers.ts'

const CR = 0x0d
const LF = 0x0a
const SEMICOLON = 0x3b
/** Beyond it a size is an attack: 2^48 bytes. */
const MAX_SIZE_DIGITS = 12
const MAX_EXTENSION_BYTES = 1024
const MAX_TRAILER_BYTES = 16 * 1024
/** Whole lines behind the last chunk. */
const TRAILERS = /^(?:[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*$/

type Part =
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
 * that fifty small chunks become one piece without a new buffer for each. Extensions are read past.
 */
export class ChunkedReader {
  #part: Part = 'size'
  #left = 0
  #digits = 0
  /** Bytes of the extension or the trailers so far. */
  #skipped = 0
  #hasSurplus = false
  readonly #wantsTrailers: boolean
  /** What stands behind the last chunk, line ends included, as Latin-1. */
  #trailers = ''

  constructor(wantsTrailers: boolean) {
    this.#wantsTrailers = wantsTrailers
  }

  read(bytes: Buffer): Buffer {
    let [at, base, used] = [0, 0, 0]
    while (at < bytes.length && this.#part !== 'done') {
      if (this.#part !== 'payload') {
        at = this.#readBetween(bytes, at)
        continue
      }
      const length = Math.min(this.#left, bytes.length - at)
      if (used === 0) base = at
      else bytes.copyWithin(base + used, at, at + length)
      used += length
      at += length
      this.#left -= length
      if (this.#left === 0) this.#part = 'payload-cr'
    }
    if (at < bytes.length) this.#hasSurplus = true
    return bytes.subarray(base, base + used)
  }

  isComplete(): boolean {
    return this.#part === 'done'
  }

  hasSurplus(): boolean {
    return this.#hasSurplus
  }

  trailers(): string[] {
    if (this.#trailers === '') return []
    return keepTrailers(readFieldLines(`\r\n${this.#trailers.slice(0, -2)}`, 0))
  }

  /** One byte of what stands between two payloads; all of it when it is there and as plain as it nearly always is. */
  #readBetween(bytes: Buffer, at: number): number {
    if (this.#part !== 'payload-cr' || bytes[at] !== CR || bytes[at + 1] !== LF) {
      this.#step(bytes[at] ?? 0)
      return at + 1
    }
    this.#part = 'size'
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
    this.#part = 'payload'
    return next + 2
  }

  #step(byte: number): void {
    switch (this.#part) {
      case 'size':
        return this.#readSize(byte)
      case 'extension':
        this.#skip(MAX_EXTENSION_BYTES)
        if (byte === CR) this.#part = 'size-end'
        else if (byte === LF) throw badChunk()
        return
      case 'size-end':
        return this.#expect(byte, LF, this.#left === 0 ? 'trailer-start' : 'payload')
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
    if (byte === CR) this.#part = 'size-end'
    else if (byte === SEMICOLON) this.#part = 'extension'
    else throw badChunk()
  }

  #readTrailer(byte: number): void {
    this.#skip(MAX_TRAILER_BYTES)
    if (this.#part === 'last-lf') {
      if (!TRAILERS.test(this.#trailers)) throw badAnswer('The trailers of the answer are malformed')
      return this.#expect(byte, LF, 'done')
    }
    if (this.#part === 'trailer-start' && byte === CR) this.#part = 'last-lf'
    else {
      if (this.#wantsTrailers) this.#trailers += String.fromCharCode(byte)
      if (this.#part === 'trailer-start') this.#part = 'trailer'
      else if (this.#part === 'trailer-end') this.#expect(byte, LF, 'trailer-start')
      else if (byte === CR) this.#part = 'trailer-end'
    }
  }

  #expect(byte: number, wanted: number, next: Part): void {
    if (byte !== wanted) throw badChunk()
    this.#part = next
  }

  #skip(most: number): void {
    this.#skipped += 1
    if (this.#skipped > most) throw badChunk()
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}

function badChunk() {
  return badAnswer('The chunks of the answer are malformed')
}

function badAnswer(text: string) {
  return new UpstreamError('BAD_ANSWER', text)
}
