import { type BodyReader, ChunkedReader } from './chunked-body.ts'
import { UpstreamError } from './rules.ts'

/** How a body ends (RFC 9112 section 6.3): after so many bytes, with its last chunk, or with the connection. */
export type Framing = { length: number } | 'chunked' | 'close'

/** Every field that anybody reads or passes on; all others are checked and passed over, which is half the work. */
const READ_FIELDS = [
  'content-type',
  'content-length',
  'content-encoding',
  'content-language',
  'content-disposition',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'retry-after',
  'retry-after-ms',
  'openai-processing-ms',
  'openai-version',
  'openai-model',
] as const

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

/** Reads a response head without its empty line, as Latin-1. Throws `BAD_ANSWER`. */
export function readResponseHead(text: string, keepAliveMs: number): ResponseHead {
  if (!HEAD.test(text)) throw badAnswer('The head of the answer is not HTTP/1.1')
  const status = Number(text.slice(STATUS_AT, STATUS_AT + 3))
  const headers = readFields(text)
  const framing = readFraming(status, headers)
  return { status, headers, framing, keepMs: keepTime(text[MINOR_AT], headers, framing, keepAliveMs) }
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

/** The field's name if anybody reads it. Nearly all others differ in length or first letter: no string is made of them. */
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
function keepTime(
  minor: string | undefined,
  { connection, 'keep-alive': hint }: AnswerHeaders,
  framing: Framing,
  keepAliveMs: number,
): number {
  if (minor === '0' || framing === 'close' || (connection && /\bclose\b/i.test(connection))) return 0
  const seconds = /(?:^|[\s,])timeout=(\d{1,6})/i.exec(String(hint ?? ''))?.[1]
  return seconds === undefined
    ? keepAliveMs
    : Math.max(0, Math.min(keepAliveMs, Number(seconds) * 1000 - 1000))
}

function badAnswer(text: string) {
  return new UpstreamError('BAD_ANSWER', text)
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
