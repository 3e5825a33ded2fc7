import type { IncomingHttpHeaders } from 'node:http'
import { UpstreamError } from './upstream-error.ts'

/** How a body ends (RFC 9112 section 6.3): after so many bytes, with its last chunk, or with the connection. */
export type Framing = { length: number } | 'chunked' | 'close'

export interface ResponseHead {
  status: number
  /** Names in lower case; repeated fields joined by a comma. */
  headers: IncomingHttpHeaders
  framing: Framing
  /** How long the connection may wait for its next request, in milliseconds; 0: not at all. */
  keepMs: number
}

/** Status line and fields in one look: tokens as names, no control characters, no folded lines, no bare CR or LF. */
const HEAD =
  /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [^\r\n\0]*)?((?:\r\n[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e\x80-\xff]*)*)$/
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

const readFields = (text: string): IncomingHttpHeaders => {
  const headers: IncomingHttpHeaders = {}
  let at = 2
  while (at < text.length) {
    const next = text.indexOf('\r\n', at)
    const end = next === -1 ? text.length : next
    const colon = text.indexOf(':', at)
    const name = text.slice(at, colon).toLowerCase()
    const value = sliceTrimmed(text, colon + 1, end)
    // No client sees `set-cookie`: it needs no list here.
    const before = name === 'set-cookie' ? undefined : headers[name]
    if (name !== 'set-cookie' && name !== '__proto__')
      headers[name] = before === undefined ? value : `${before}, ${value}`
    at = end + 2
  }
  return headers
}

/** Without the optional white space around it: blanks and tabs, nothing else (RFC 9110 section 5.6.3). */
const sliceTrimmed = (text: string, start: number, end: number): string => {
  let [from, to] = [start, end]
  while (from < to && isBlank(text.charCodeAt(from))) from += 1
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1
  return text.slice(from, to)
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

const readFraming = (status: number, headers: IncomingHttpHeaders): Framing => {
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
  { connection, 'keep-alive': hint }: IncomingHttpHeaders,
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
