import { invalidJson } from '../errors.ts'

/** Where one member of the top-level object stands in the body's bytes. */
export interface Member {
  key: string
  start: number
  end: number
}

/** No request of the APIs we speak nests this deep; deeper ones are attacks on parsers behind us. */
const MAX_DEPTH = 100
/** Strings are read byte by byte up to here, then jumped over quote by quote. */
const CLOSE_READING = 256

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OBJECT = 1
const ARRAY = 2

/**
 * The members of a JSON object (RFC 8259) without parsing their values: it costs a jump per long string instead of
 * a copy, and cannot be made to stall. Throws `invalid_json`. Inside strings longer than 256 bytes control characters
 * and bad escapes are not looked for: the provider refuses those.
 */
export const scanMembers = (body: Buffer): Member[] => {
  const members: Member[] = []
  const nesting = new Uint8Array(MAX_DEPTH + 1)
  let depth = 0
  let at = skipSpace(body, 0)
  if (body[at] !== 0x7b) throw invalidJson('The body must be a JSON object')
  let key = ''
  let valueStart = 0
  let wants: 'value' | 'key' | 'after' = 'value'
  for (;;) {
    if (wants === 'key') {
      if (body[at] !== QUOTE) throw malformed(at)
      const end = stringEnd(body, at)
      if (depth === 1) key = readKey(body, at, end)
      at = skipSpace(body, end)
      if (body[at] !== 0x3a) throw malformed(at)
      at = skipSpace(body, at + 1)
      if (depth === 1) valueStart = at
      wants = 'value'
    } else if (wants === 'value') {
      const opened = openedBy(body[at])
      if (opened === 0) {
        at = scalarEnd(body, at)
        wants = 'after'
        continue
      }
      depth += 1
      if (depth > MAX_DEPTH) throw invalidJson(`The body nests deeper than ${MAX_DEPTH} levels`)
      nesting[depth] = opened
      at = skipSpace(body, at + 1)
      if (body[at] === closerOf(opened)) wants = 'after'
      else wants = opened === OBJECT ? 'key' : 'value'
      if (wants === 'after') {
        at += 1
        depth -= 1
      }
    } else {
      if (depth === 1) members.push({ key, start: valueStart, end: at })
      at = skipSpace(body, at)
      if (depth === 0) break
      if (body[at] === 0x2c) {
        at = skipSpace(body, at + 1)
        wants = nesting[depth] === OBJECT ? 'key' : 'value'
      } else if (body[at] === closerOf(nesting[depth])) {
        at += 1
        depth -= 1
      } else throw malformed(at)
    }
  }
  if (at !== body.length) throw malformed(at)
  return members
}

const malformed = (at: number) => invalidJson(`The body is not valid JSON (byte ${at})`)

const openedBy = (byte: number | undefined): number => (byte === 0x7b ? OBJECT : byte === 0x5b ? ARRAY : 0)

const closerOf = (kind: number | undefined): number => (kind === OBJECT ? 0x7d : 0x5d)

const skipSpace = (body: Buffer, from: number): number => {
  let at = from
  // One look past the end would make every later scan three times as slow.
  while (at < body.length) {
    const byte = body[at]
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at
    at += 1
  }
  return at
}

const readKey = (body: Buffer, start: number, end: number): string => {
  const text = body.toString('utf8', start + 1, end - 1)
  if (!text.includes('\\')) return text
  try {
    return String(JSON.parse(`"${text}"`))
  } catch {
    throw malformed(start)
  }
}

const ESCAPES = new Set([...'"\\/bfnrt'].map((letter) => letter.charCodeAt(0)))
const HEX = /^u[0-9a-f]{4}$/i

const isEscape = (body: Buffer, at: number): boolean =>
  ESCAPES.has(body[at] ?? 0) || HEX.test(body.toString('latin1', at, at + 5))

/** The byte after the closing quote. */
const stringEnd = (body: Buffer, start: number): number => {
  let at = start + 1
  let closeUntil = at + CLOSE_READING
  for (;;) {
    while (at < closeUntil) {
      const byte = body[at]
      if (byte === QUOTE) return at + 1
      if (byte === undefined || byte < 0x20) throw malformed(at)
      if (byte === BACKSLASH) {
        if (!isEscape(body, at + 1)) throw malformed(at)
        at += 1
      }
      at += 1
    }
    const quote = body.indexOf(QUOTE, at)
    if (quote === -1) throw malformed(body.length)
    let slashes = 0
    while (quote - slashes > at && body[quote - slashes - 1] === BACKSLASH) slashes += 1
    if (slashes % 2 === 0) return quote + 1
    at = quote + 1
    closeUntil = at + CLOSE_READING
  }
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

/** The byte after a string, number, `true`, `false` or `null`. */
const scalarEnd = (body: Buffer, start: number): number => {
  if (body[start] === QUOTE) return stringEnd(body, start)
  let at = start
  while (isScalarByte(body[at])) at += 1
  const text = body.toString('latin1', start, at)
  if (text === 'true' || text === 'false' || text === 'null' || NUMBER.test(text)) return at
  throw malformed(start)
}

const isScalarByte = (byte: number | undefined): boolean =>
  byte !== undefined &&
  ((byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e ||
    byte === 0x45)
