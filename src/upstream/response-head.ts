import { UpstreamError } from './upstream-error.ts'

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
const HEAD =
  /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [^\r\n\0]*)?((?:\r\n[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e\x80-\xff]*)*)$/
const FIELD = new RegExp(`\\r\\n(${READ_FIELDS.join('|')}):[\\t ]*([^\\r]*)`, 'gi')
const DIGITS = /^\d{1,15}$/

/** Reads a response head without its empty line, as Latin-1. Throws `BAD_ANSWER`. */
export const readResponseHead = (text: string, keepAliveMs: number): ResponseHead => {
  const [, minor, code, fields] = HEAD.exec(text) ?? []
  if (minor === undefined || fields === undefined) throw badAnswer('The head of the answer is not HTTP/1.1')
  const status = Number(code)
  const headers = readFields(fields)
  const framing = readFraming(status, headers)
  return { status, headers, framing, keepMs: keepTime(minor, headers, framing, keepAliveMs) }
}

const readFields = (text: string): AnswerHeaders => {
  const headers: Record<string, string> = {}
  // Not `matchAll`, which makes a new expression each time.
  FIELD.lastIndex = 0
  for (let found = FIELD.exec(text); found !== null; found = FIELD.exec(text)) {
    const key = (found[1] ?? '').toLowerCase()
    const value = withoutEndBlanks(found[2] ?? '')
    const before = headers[key]
    headers[key] = before === undefined ? value : `${before}, ${value}`
  }
  return headers
}

/** Optional white space is blanks and tabs, nothing else (RFC 9110 section 5.6.3). */
const withoutEndBlanks = (value: string): string => {
  let end = value.length
  while (end > 0 && isBlank(value.charCodeAt(end - 1))) end -= 1
  return end === value.length ? value : value.slice(0, end)
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

const readFraming = (status: number, headers: AnswerHeaders): Framing => {
  const coding = headers['transfer-encoding']
  const length = headers['content-length']
  if (status === 204 || status === 304) return { length: 0 }
  if (coding !== undefined) {
    // With both, two readers may see two different ends: the start of every smuggled answer.
    if (length !== undefined) throw badAnswer('The answer has both a length and a transfer coding')
    if (coding.toLowerCase() !== 'chunked') throw badAnswer('The answer has an unknown transfer coding')
    return 'chunked'
  }
  if (length === undefined) return 'close'
  if (!DIGITS.test(length)) throw badAnswer('The length of the answer is no number')
  return { length: Number(length) }
}

/** A provider's own `Keep-Alive: timeout` is believed, less a second for the way; RFC 9112 section 9.3. */
const keepTime = (
  minor: string,
  { connection, 'keep-alive': hint }: AnswerHeaders,
  framing: Framing,
  keepAliveMs: number,
): number => {
  if (minor === '0' || framing === 'close' || (connection && /\bclose\b/i.test(connection))) return 0
  const seconds = /(?:^|[\s,])timeout=(\d{1,6})/i.exec(String(hint ?? ''))?.[1]
  return seconds === undefined
    ? keepAliveMs
    : Math.max(0, Math.min(keepAliveMs, Number(seconds) * 1000 - 1000))
}

const badAnswer = (text: string) => new UpstreamError('BAD_ANSWER', text)
