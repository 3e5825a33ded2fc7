import { READ_FIELDS } from '../answer-fields.ts'
import { UpstreamError } from './rules.ts'

/** How a body ends (RFC 9112 section 6.3): after so many bytes, with its last chunk, or with the connection. */
export type Framing = { length: number } | 'chunked' | 'close'

/** Takes the framing off a body, whatever the pieces it comes in. */
export interface BodyReader {
  /** The payload of these bytes, moved together inside them. Throws `BAD_ANSWER`. */
  read(bytes: Buffer): Buffer
  isComplete(): boolean
  /** Something came behind the end: the connection cannot be trusted with another request. */
  hasSurplus(): boolean
}

/** Names in lower case; repeated fields joined by a comma. */
export type AnswerHeaders = Readonly<Partial<Record<(typeof READ_FIELDS)[number], string>>>

export interface ResponseHead {
  status: number
  headers: AnswerHeaders
  framing: Framing
  /** How long the connection may wait for its next request, in milliseconds; 0: not at all. */
  keepMs: number
}

/** Status line and fields in one look: tokens as names, no control characters, no folded lines, no bare CR or LF. */
const HEAD = /^HTTP\/1\.[01] [1-5]\d\d(?: [^\r\n\0]*)?(?:\r\n[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e\x80-\xff]*)*$/
const MINOR_AT = 7
const STATUS_AT = 9
/** Makes an ASCII letter a small one. */
const LOWER = 0x20
const DIGITS = /^\d{1,15}$/
const CR = 0x0d
const LF = 0x0a
const SEMICOLON = 0x3b
/** Beyond it a size is an attack: 2^48 bytes. */
const MAX_SIZE_DIGITS = 12
const MAX_EXTENSION_BYTES = 1024
const MAX_TRAILER_BYTES = 16 * 1024

/** Reads a response head without its empty line, as Latin-1. Throws `BAD_ANSWER`. */
export function readResponseHead(text: string, keepAliveMs: number): ResponseHead {
  if (!HEAD.test(text)) throw badAnswer('The head of the answer is not HTTP/1.1')
  const status = Number(text.slice(STATUS_AT, STATUS_AT + 3))
  const headers = readFields(text)
  const framing = readFraming(status, headers)
  const mayStay = text[MINOR_AT] === '1' && framing !== 'close'
  return { status, headers, framing, keepMs: mayStay ? keepTime(headers, keepAliveMs) : 0 }
}

function readFields(text: string): AnswerHeaders {
  const headers: Record<string, string> = {}
  for (let at = text.indexOf('\r\n'); at !== -1; ) {
    const start = at + 2
    at = text.indexOf('\r\n', start)
    const colon = text.indexOf(':', start)
    const name = nameOf(text, start, colon)
    if (name === undefined) continue
    const value = sliceTrimmed(text, colon + 1, at === -1 ? text.length : at)
    const before = headers[name]
    headers[name] = before === undefined ? value : `${before}, ${value}`
  }
  return headers
}

/**
 * The field's name if anybody reads it; all others are checked and passed over, which is half the work. Nearly all others differ in length or first letter: no string is made of them. */
function nameOf(text: string, start: number, end: number): string | undefined {
  const first = text.charCodeAt(start) | LOWER
  for (const name of READ_FIELDS) {
    if (name.length !== end - start || name.charCodeAt(0) !== first) continue
    if (text.slice(start, end).toLowerCase() === name) return name
  }
  return undefined
}

/** Optional white space is blanks and tabs, nothing else (RFC 9110 section 5.6.3). */
function sliceTrimmed(text: string, start: number, end: number): string {
  let [from, to] = [start, end]
  while (from < to && isBlank(text.charCodeAt(from))) from += 1
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1
  return text.slice(from, to)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function readFraming(status: number, headers: AnswerHeaders): Framing {
  const coding = headers['transfer-encoding']
  const length = headers['content-length']
  if (status === 204 || status === 304) return { length: 0 }
  if (coding !== undefined) {
    // Two readers may see two different ends where there are both: the start of every smuggled answer.
    if (length !== undefined) throw badAnswer('The answer has both a length and a transfer coding')
    if (coding.toLowerCase() !== 'chunked') throw badAnswer('The answer has an unknown transfer coding')
    return 'chunked'
  }
  if (length === undefined) return 'close'
  if (!DIGITS.test(length)) throw badAnswer('The length of the answer is no number')
  return { length: Number(length) }
}

/** A provider's own `Keep-Alive: timeout` is believed, less a second for the way; RFC 9112 section 9.3. */
function keepTime({ connection, 'keep-alive': hint }: AnswerHeaders, keepAliveMs: number): number {
  if (connection && /\bclose\b/i.test(connection)) return 0
  const seconds = /(?:^|[\s,])timeout=(\d{1,6})/i.exec(String(hint ?? ''))?.[1]
  return seconds === undefined
    ? keepAliveMs
    : Math.max(0, Math.min(keepAliveMs, Number(seconds) * 1000 - 1000))
}

export function createBodyReader(framing: Framing): BodyReader {
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
    const payload = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes
    this.#left -= payload.length
    if (payload !== bytes) this.#hasSurplus = true
    return payload
  }

  isComplete(): boolean {
    return this.#left === 0
  }

  hasSurplus(): boolean {
    return this.#hasSurplus
  }
}

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
 * that fifty small chunks become one piece without a new buffer for each. Extensions and trailers are read past.
 */
class ChunkedReader implements BodyReader {
  #part: Part = 'size'
  #left = 0
  #digits = 0
  /** Bytes of the extension or the trailers so far. */
  #skipped = 0
  #hasSurplus = false

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
    if (this.#part === 'trailer-start') this.#part = byte === CR ? 'last-lf' : 'trailer'
    else if (this.#part === 'last-lf') this.#expect(byte, LF, 'done')
    else if (this.#part === 'trailer-end') this.#expect(byte, LF, 'trailer-start')
    else if (byte === CR) this.#part = 'trailer-end'
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
