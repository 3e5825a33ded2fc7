import { isUtf8 } from 'node:buffer'
import { invalidJson } from '../errors.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const LETTER_U = 0x75
const OBJECT = 1
const ARRAY = 2

export function openedBy(byte: number | undefined): number {
  return byte === 0x7b ? OBJECT : byte === 0x5b ? ARRAY : 0
}

export function closerOf(kind: number | undefined): number {
  return kind === OBJECT ? 0x7d : 0x5d
}

export function skipSpace(body: Buffer, from: number): number {
  let at = from
  // One look past the end would make every later scan three times as slow.
  while (at < body.length) {
    const byte = body[at]
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at
    at += 1
  }
  return at
}

/** Undefined: it has a bad escape, or bytes that are no letters but to a lenient reader. */
export function readName(bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return undefined
  const text = bytes.toString()
  if (!text.includes('\\')) return text
  try {
    return String(JSON.parse(`"${text}"`))
  } catch {
    return undefined
  }
}

function flagged(letters: string): Uint8Array {
  const flags = new Uint8Array(256)
  for (const letter of letters) flags[letter.charCodeAt(0)] = 1
  return flags
}

const SIMPLE_ESCAPES = flagged('"\\/bfnrt')
const HEX_DIGITS = flagged('0123456789abcdefABCDEF')
const SCALAR_BYTES = flagged('0123456789abcdefghijklmnopqrstuvwxyz+-.E')

/** What stands behind a backslash. */
export function isEscape(body: Buffer, at: number): boolean {
  if (SIMPLE_ESCAPES[body[at] ?? 0] === 1) return true
  if (body[at] !== LETTER_U) return false
  for (let digit = at + 1; digit <= at + 4; digit += 1) if (HEX_DIGITS[body[digit] ?? 0] === 0) return false
  return true
}

/** Where the letters and signs of a number or word end; at most `until`. */
export function scalarEnd(body: Buffer, from: number, until: number): number {
  let at = from
  while (at < until && SCALAR_BYTES[body[at] ?? 0] === 1) at += 1
  return at
}

const WORDS = ['true', 'false', 'null'].map((word) => Buffer.from(word))

function isWord(body: Buffer, start: number, end: number): boolean {
  const word = WORDS.find(([first]) => first === body[start])
  if (word?.length !== end - start) return false
  for (let at = 1; at < word.length; at += 1) if (body[start + at] !== word[at]) return false
  return true
}

/** Whether these bytes are a number, `true`, `false` or `null`: no string is made of them. */
export function isScalar(body: Buffer, start: number, end: number): boolean {
  const first = body[start] ?? 0
  if (first >= 0x61) return isWord(body, start, end)
  let at = first === 0x2d ? start + 1 : start
  const whole = at
  at = skipDigits(body, at, end)
  if (at === whole || (body[whole] === 0x30 && at > whole + 1)) return false
  if (at < end && body[at] === 0x2e) {
    const fraction = at + 1
    at = skipDigits(body, fraction, end)
    if (at === fraction) return false
  }
  if (at < end && (body[at] === 0x65 || body[at] === 0x45)) {
    const hasSign = body[at + 1] === 0x2b || body[at + 1] === 0x2d
    const exponent = at + (hasSign ? 2 : 1)
    at = skipDigits(body, exponent, end)
    if (at === exponent) return false
  }
  return at === end
}

function skipDigits(body: Buffer, from: number, end: number): number {
  let at = from
  while (at < end && isDigit(body[at] ?? 0)) at += 1
  return at
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39
}

/** Where a string ends, or has an escape or a byte that it may not have; at most `until`. */
export function plainEnd(piece: Buffer, from: number, until: number): number {
  let at = from
  while (at < until) {
    const byte = piece[at] ?? 0
    if (byte === QUOTE || byte === BACKSLASH || byte < 0x20) return at
    at += 1
  }
  return at
}

/** Whether these bytes are those. */
export function isSame(piece: Buffer, start: number, end: number, bytes: Uint8Array): boolean {
  if (end - start !== bytes.length) return false
  for (let at = 0; at < bytes.length; at += 1) if (piece[start + at] !== bytes[at]) return false
  return true
}

/** The hash of a name (`FieldTable.byHash`) with one letter or digit more. */
export function addToHash(hash: number, code: number): number {
  return (Math.imul(hash, 31) + code) | 0
}

export function malformed(at: number) {
  return invalidJson(`The body is not valid JSON (byte ${at})`)
}

/** What begins at `at` goes on in the next piece. */
export function more(at: number): number {
  return -1 - at
}

/** Every field that is served, and 128 items of lists that name one each: whatever a body is, no more is kept. */
const MAX_FOUND = 160

/** Where the value of a guarded field stands in the body's bytes. */
export interface FoundField {
  path: string
  start: number
  end: number
  /** Its first byte: tells objects, lists, strings, numbers and words apart. */
  opening: number
  /** Undefined: it is longer than what is kept, or more is guarded inside. */
  text: string | undefined
  /** An object or a list without anything in it. */
  isEmpty: boolean
}

export function beginField({ path }: { path: string }, start: number, byte: number | undefined): FoundField {
  return {
    path,
    start,
    end: start,
    opening: byte ?? 0,
    text: undefined,
    isEmpty: false,
  }
}

/**
 * A field of the items of a list may stand as often as the list has items: without a bound a body would be kept many
 * times over, and gone over again. Throws `invalid_json`, with the field: the body is JSON all the same.
 */
export function keepField(found: FoundField[], field: FoundField): void {
  const { path: param } = field
  if (found.length === MAX_FOUND)
    throw invalidJson(`"${param}" stands in the body too often; send fewer of its list's items`, { param })
  found.push(field)
}

/** The text of a value that may come in many pieces, up to a length. */
export class KeptText {
  #pieces: Buffer[] = []
  #bytes = 0
  /** Where it begins in the piece at hand; -1: nothing is being kept. */
  #from = -1
  #mostBytes = 0

  begin(at: number, mostBytes: number): void {
    this.#from = at
    this.#mostBytes = mostBytes
    this.#bytes = 0
    if (this.#pieces.length > 0) this.#pieces = []
  }

  /** Sets aside what this piece has of it, up to `end`: its memory may be another's a moment later. */
  keep(piece: Buffer, end: number): void {
    if (this.#from === -1) return
    if (this.#bytes <= this.#mostBytes) this.#pieces.push(Buffer.from(piece.subarray(this.#from, end)))
    this.#bytes += end - this.#from
    this.#from = 0
  }

  /** Undefined: it is longer than what is kept. */
  end(piece: Buffer, end: number): string | undefined {
    const from = this.#from
    this.#from = -1
    if (this.#bytes + end - from > this.#mostBytes) return undefined
    if (this.#pieces.length === 0) return piece.toString('utf8', from, end)
    return Buffer.concat([...this.#pieces, piece.subarray(from, end)]).toString()
  }
}
