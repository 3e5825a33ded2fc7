import { READ_FIELDS } from '../answer-fields.ts'
import { type GatewayError, invalidRequest } from '../errors.ts'
import { UpstreamError } from './rules.ts'

/** How a body ends (RFC 9112 section 6.3): after so many bytes, with its last chunk, or with the connection. */
export type Framing = { length: number } | 'chunked' | 'close'

/** Names in lower case; repeated fields joined by a comma. */
export type AnswerHeaders = Readonly<Partial<Record<(typeof READ_FIELDS)[number], string>>>

export interface AnswerHead {
  status: number
  framing: Framing
  /** How long the connection may wait for its next request, in milliseconds; 0: not at all. */
  keepMs: number
}

/** What is read of a provider's answer. */
export interface ResponseHead extends AnswerHead {
  headers: AnswerHeaders
}

/** A service's answer, nothing left out. */
export interface WholeHead extends AnswerHead {
  /** Names and values in turn, in the case and order they came in. */
  headers: string[]
  reason: string
}

/** Status line and fields in one look: tokens as names, no control characters, no folded lines, no bare CR or LF. */
const HEAD = /^HTTP\/1\.[01] [1-5]\d\d(?: [^\r\n\0]*)?(?:\r\n[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e\x80-\xff]*)*$/
const NAME = /^[\w!#$%&'*+.^`|~-]+$/
const UNSAFE = /[^\t\x20-\x7e\x80-\xff]/
const MINOR_AT = 7
const STATUS_AT = 9
const REASON_AT = 13
/** Makes an ASCII letter a small one. */
const LOWER = 0x20
const DIGITS = /^\d{1,15}$/

/** Reads a response head without its empty line, as Latin-1. Throws `BAD_ANSWER`. */
export function readResponseHead(text: string, keepAliveMs: number): ResponseHead {
  const status = readStatus(text)
  const headers = readFields(text)
  const framing = isBodiless(status) ? { length: 0 } : readBodyFraming(headers)
  return { status, headers, framing, keepMs: mayStay(text, framing) ? keepTime(headers, keepAliveMs) : 0 }
}

/** Reads a head like `readResponseHead`, every field of it; `method` is what was asked. */
export function readWholeHead(text: string, keepAliveMs: number, method: string): WholeHead {
  const status = readStatus(text)
  const lineEnd = text.indexOf('\r\n')
  const headers = readFieldLines(text, lineEnd)
  const reason = text.slice(REASON_AT, lineEnd === -1 ? undefined : lineEnd)
  const fields = pickFraming(headers)
  // A length is passed on where no body follows it, too: a wrong one is refused.
  const declared = readBodyFraming(fields)
  const framing = method === 'HEAD' || isBodiless(status) ? { length: 0 } : declared
  const keepMs = mayStay(text, framing) ? keepTime(fields, keepAliveMs) : 0
  return { status, headers, reason: isUnsafe(reason) ? '' : reason, framing, keepMs }
}

function readStatus(text: string): number {
  if (!HEAD.test(text)) throw badAnswer('The head of the answer is not HTTP/1.1')
  return Number(text.slice(STATUS_AT, STATUS_AT + 3))
}

function readFields(text: string): AnswerHeaders {
  const headers: Record<string, string> = {}
  for (let at = text.indexOf('\r\n'); at !== -1; ) {
    const start = at + 2
    at = text.indexOf('\r\n', start)
    const colon = text.indexOf(':', start)
    const name = nameOf(text, start, colon)
    if (name === undefined) continue
    add(headers, name, sliceTrimmed(text, colon + 1, at === -1 ? text.length : at))
  }
  return headers
}

function add(headers: Record<string, string>, name: string, value: string): void {
  const before = headers[name]
  headers[name] = before === undefined ? value : `${before}, ${value}`
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

/** What decides where a body ends, and whether its connection stays. */
type FramingFields = Pick<AnswerHeaders, 'content-length' | 'transfer-encoding' | 'connection' | 'keep-alive'>

function pickFraming(headers: readonly string[]): FramingFields {
  const fields: Record<string, string> = {}
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? ''
    // The lengths of the four names.
    if (name.length !== 14 && name.length !== 17 && name.length !== 10) continue
    const lower = name.toLowerCase()
    if (isFraming(lower)) add(fields, lower, headers[index + 1] ?? '')
  }
  return fields
}

function isFraming(name: string): boolean {
  return (
    name === 'content-length' ||
    name === 'transfer-encoding' ||
    name === 'connection' ||
    name === 'keep-alive'
  )
}

function isBodiless(status: number): boolean {
  return status === 204 || status === 304
}

function readBodyFraming(headers: FramingFields): Framing {
  const coding = headers['transfer-encoding']
  const length = headers['content-length']
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

function mayStay(text: string, framing: Framing): boolean {
  return text[MINOR_AT] === '1' && framing !== 'close'
}

/** The other side's own `Keep-Alive: timeout` is believed, less a second for the way; RFC 9112 section 9.3. */
function keepTime({ connection, 'keep-alive': hint }: FramingFields, keepAliveMs: number): number {
  if (connection && /\bclose\b/i.test(connection)) return 0
  const seconds = /(?:^|[\s,])timeout=(\d{1,6})/i.exec(String(hint ?? ''))?.[1]
  return seconds === undefined
    ? keepAliveMs
    : Math.max(0, Math.min(keepAliveMs, Number(seconds) * 1000 - 1000))
}

export function isFieldName(name: string): boolean {
  return NAME.test(name)
}

/** Whether a value has a character that ends its line, or that no field may have. */
export function isUnsafe(value: string): boolean {
  return UNSAFE.test(value)
}

/**
 * The fields of a head that is known to be well-formed, names and values in turn, as they came. `at` is the line end
 * before the first of them; -1: there is none.
 */
export function readFieldLines(text: string, at: number): string[] {
  const fields: string[] = []
  for (let before = at; before !== -1; ) {
    const start = before + 2
    before = text.indexOf('\r\n', start)
    const colon = text.indexOf(':', start)
    const end = before === -1 ? text.length : before
    fields.push(text.slice(start, colon), sliceTrimmed(text, colon + 1, end))
  }
  return fields
}

/** Optional white space is blanks and tabs, nothing else (RFC 9110 section 5.6.3). */
export function sliceTrimmed(text: string, start: number, end: number): string {
  let [from, to] = [start, end]
  while (from < to && isBlank(text.charCodeAt(from))) from += 1
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1
  return text.slice(from, to)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** A line that is there, and the fields behind it: names and values in turn. */
export function addFields(start: string, headers: readonly string[]): string | GatewayError {
  let head = start
  for (let index = 0; index < headers.length; index += 2) {
    const value = headers[index + 1] ?? ''
    // They are the client's own, and no provider's failure.
    if (isUnsafe(value)) return invalidRequest(`The header "${headers[index]}" holds a control character`)
    head += `${headers[index]}: ${value}\r\n`
  }
  return head
}

export function startLine(method: string, path: string, authority: string): string {
  return `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n`
}

function badAnswer(text: string) {
  return new UpstreamError('BAD_ANSWER', text)
}
