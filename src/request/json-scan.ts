import { invalidJson } from '../errors.ts'
import { type FieldTable, FOLDED_ASCII, findField, type GuardedField } from './guarded-fields.ts'
import {
  addToHash,
  beginField,
  closerOf,
  type FoundField,
  isEscape,
  isSame,
  isScalar,
  KeptText,
  keepField,
  malformed,
  more,
  openedBy,
  plainEnd,
  readName,
  scalarEnd,
  skipSpace,
} from './json-tokens.ts'

/** No request of the APIs we speak nests this deep; deeper ones are attacks on parsers behind us. */
const MAX_DEPTH = 100
/** Strings are read byte by byte up to here, then jumped over quote by quote. */
const CLOSE_READING = 256
/** The longest number, or name where names are guarded: `m__...__odel` is a model to some readers. */
const MAX_TOKEN_BYTES = 512
/** Nobody writes more guarded, escaped or accented names into one body: comparing each takes time. */
const MAX_COMPARED = 1_000

// Imported, these would be looked up at every byte.
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const LETTER_U = 0x75
const OBJECT = 1
const ARRAY = 2
const NOTHING: Buffer = Buffer.alloc(0)

type Wants = 'root' | 'first' | 'key' | 'colon' | 'value' | 'string' | 'after' | 'end'

/**
 * Reads a JSON object (RFC 8259) as it comes, piece by piece wherever the pieces break, without parsing its values, and
 * keeps nothing of it but the guarded fields. The time for a piece is bounded by its length: a jump for a long string,
 * some nanoseconds a byte for anything else. In strings longer than 256 bytes bad escapes are the provider's to refuse.
 */
export class JsonScan {
  readonly found: FoundField[] = []
  /** Where the object begins. */
  rootStart = 0
  #piece: Buffer = NOTHING
  /** Where the piece begins in the body. */
  #base = 0
  /** The begun token at the end of the piece before. */
  #rest: Buffer = NOTHING
  #wants: Wants = 'root'
  #isKey = false
  #closeReading = 0
  #depth = 0
  readonly #nesting: number[] = [0]
  /** What is guarded at each depth, which of it was seen, and the field whose value is being read. */
  readonly #tables: (FieldTable | undefined)[]
  readonly #seen: number[] = [0]
  readonly #fields: (GuardedField | undefined)[] = [undefined]
  readonly #values: FoundField[] = []
  #compared = 0
  readonly #text = new KeptText()

  constructor(table: FieldTable) {
    this.#tables = [undefined, table]
  }

  /** Throws `invalid_json`. */
  push(bytes: Buffer): void {
    this.#piece = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    this.#rest = NOTHING
    const used = this.#walk()
    this.#text.keep(this.#piece, used)
    if (used < this.#piece.length) {
      this.#rest = Buffer.from(this.#piece.subarray(used))
      if (this.#rest.length > MAX_TOKEN_BYTES) throw malformed(this.#base + used)
    }
    this.#base += used
    this.#piece = NOTHING
  }

  /** Nothing more comes. Throws `invalid_json`. */
  end(): void {
    if (this.#wants === 'root') throw invalidJson('The body must be a JSON object')
    if (this.#wants !== 'end') throw malformed(this.#base + this.#rest.length)
  }

  /** How much of the piece could be read. */
  #walk(): number {
    const piece = this.#piece
    const { length } = piece
    let at = 0
    while (at < length) {
      if (this.#wants !== 'string') at = skipSpace(piece, at)
      if (at === length) break
      const next = this.#wants === 'string' ? this.#passString(at) : this.#step(at)
      if (next < 0) return -1 - next
      at = next
    }
    return length
  }

  /** Returns where it goes on; below zero, `more(at)`: what begins at `at` is not here as a whole. */
  #step(at: number): number {
    const byte = this.#piece[at]
    switch (this.#wants) {
      case 'key':
        return this.#readKey(at)
      case 'colon':
        if (byte !== COLON) break
        this.#wants = 'value'
        return at + 1
      case 'value':
        return this.#readValue(at, byte)
      case 'after':
        return this.#readAfter(at, byte)
      case 'first':
        if (byte === closerOf(this.#nesting[this.#depth])) return this.#close(at, true)
        this.#wants = this.#nesting[this.#depth] === OBJECT ? 'key' : 'value'
        return at
      case 'root':
        if (byte !== 0x7b) throw invalidJson('The body must be a JSON object')
        this.rootStart = this.#base + at
        return this.#open(at, OBJECT)
    }
    throw malformed(this.#base + at)
  }

  #readValue(at: number, byte: number | undefined): number {
    const field = this.#fields[this.#depth]
    if (field) {
      this.#values[this.#depth] = beginField(field, this.#base + at, byte)
      if (!field.inner) this.#text.begin(at, field.keptBytes)
    }
    if (byte === QUOTE) return this.#beginString(at, false)
    const opened = openedBy(byte)
    if (opened !== 0) return this.#open(at, opened)
    const end = this.#passScalar(at)
    return end > 0 ? this.#endValue(end, false) : end
  }

  #open(at: number, kind: number): number {
    const outer = this.#depth
    const depth = outer + 1
    if (depth > MAX_DEPTH) throw invalidJson(`The body nests deeper than ${MAX_DEPTH} levels`)
    this.#depth = depth
    this.#nesting[depth] = kind
    this.#fields[depth] = undefined
    this.#seen[depth] = 0
    if (depth > 1)
      this.#tables[depth] = this.#nesting[outer] === ARRAY ? this.#tables[outer] : this.#fields[outer]?.inner
    this.#wants = 'first'
    return at + 1
  }

  #close(at: number, isEmpty: boolean): number {
    this.#depth -= 1
    if (this.#depth > 0) return this.#endValue(at + 1, isEmpty)
    this.#wants = 'end'
    return at + 1
  }

  #endValue(end: number, isEmpty: boolean): number {
    this.#wants = 'after'
    const field = this.#fields[this.#depth]
    const value = this.#values[this.#depth]
    if (!field || !value) return end
    this.#fields[this.#depth] = undefined
    value.end = this.#base + end
    value.isEmpty = isEmpty
    if (!field.inner) value.text = this.#text.end(this.#piece, end)
    keepField(this.found, value)
    return end
  }

  #readAfter(at: number, byte: number | undefined): number {
    const kind = this.#nesting[this.#depth]
    if (byte === closerOf(kind)) return this.#close(at, false)
    if (byte !== 0x2c) throw malformed(this.#base + at)
    this.#wants = kind === OBJECT ? 'key' : 'value'
    return at + 1
  }

  #readKey(at: number): number {
    const piece = this.#piece
    if (piece[at] !== QUOTE) throw malformed(this.#base + at)
    const table = this.#tables[this.#depth]
    if (!table) return this.#beginString(at, true)
    const until = Math.min(piece.length, at + MAX_TOKEN_BYTES)
    let isPlain = true
    let hash = 0
    let end = at + 1
    for (; end < until; end += 1) {
      const byte = piece[end] ?? 0
      if (byte === QUOTE) break
      if (byte < 0x20) throw malformed(this.#base + end)
      if (byte === BACKSLASH) end += 1
      if (byte === BACKSLASH || byte >= 0x80) isPlain = false
      else if (FOLDED_ASCII[byte]) hash = addToHash(hash, FOLDED_ASCII[byte])
    }
    if (end >= until) {
      if (until === piece.length) return more(at)
      throw invalidJson(`The name of a field is longer than ${MAX_TOKEN_BYTES} bytes`)
    }
    const field = table.byHash.get(hash)
    if (field && isPlain && isSame(piece, at + 1, end, field.bytes)) this.#meet(field)
    else if (field || !isPlain) this.#compare(table, at, end)
    return this.#passColon(end + 1)
  }

  #passColon(end: number): number {
    const piece = this.#piece
    const at = skipSpace(piece, end)
    if (piece[at] !== COLON) {
      this.#wants = 'colon'
      return at
    }
    this.#wants = 'value'
    const next = skipSpace(piece, at + 1)
    return next === piece.length ? next : this.#readValue(next, piece[next])
  }

  /** Is this name guarded, or another spelling of one that is? */
  #compare(table: FieldTable, at: number, end: number): void {
    const name = readName(this.#piece.subarray(at + 1, end))
    if (name === undefined) throw malformed(this.#base + at)
    this.#compared += 1
    if (this.#compared > MAX_COMPARED) throw invalidJson('The body has too many fields with escaped names')
    const field = findField(table, name)
    if (field) this.#meet(field)
  }

  #meet(field: GuardedField): void {
    const { path: param, bit } = field
    const seen = this.#seen[this.#depth] ?? 0
    if (seen % (2 * bit) >= bit) throw invalidJson(`"${param}" may stand in the body only once`, { param })
    this.#seen[this.#depth] = seen + bit
    this.#fields[this.#depth] = field
  }

  #beginString(at: number, isKey: boolean): number {
    this.#isKey = isKey
    // Most strings are short and plain.
    const piece = this.#piece
    const end = plainEnd(piece, at + 1, Math.min(piece.length, at + 1 + CLOSE_READING))
    if (piece[end] === QUOTE) return this.#endString(end + 1)
    this.#wants = 'string'
    this.#closeReading = CLOSE_READING - (end - at - 1)
    return this.#passString(end)
  }

  #passString(from: number): number {
    const piece = this.#piece
    for (let at = from; ; ) {
      const until = Math.min(piece.length, at + this.#closeReading)
      const begun = at
      while (at < until) {
        const byte = piece[at] ?? 0
        if (byte === QUOTE) return this.#endString(at + 1)
        if (byte < 0x20) throw malformed(this.#base + at)
        if (byte === BACKSLASH) {
          const isWhole = piece.length - at >= (piece[at + 1] === LETTER_U ? 6 : 2)
          if (!isWhole) return more(at)
          if (!isEscape(piece, at + 1)) throw malformed(this.#base + at)
          at += 1
        }
        at += 1
      }
      this.#closeReading = Math.max(0, this.#closeReading - (at - begun))
      if (at >= piece.length) return piece.length
      const quote = piece.indexOf(QUOTE, at)
      const end = quote === -1 ? piece.length : quote
      let slashes = 0
      while (end - slashes > at && piece[end - slashes - 1] === BACKSLASH) slashes += 1
      const isEscaped = slashes % 2 === 1
      if (quote === -1) return isEscaped ? more(end - 1) : end
      if (!isEscaped) return this.#endString(quote + 1)
      at = quote + 1
      this.#closeReading = CLOSE_READING
    }
  }

  #endString(end: number): number {
    return this.#isKey ? this.#passColon(end) : this.#endValue(end, false)
  }

  /** A number, `true`, `false` or `null`. */
  #passScalar(start: number): number {
    const piece = this.#piece
    const end = scalarEnd(piece, start, Math.min(piece.length, start + MAX_TOKEN_BYTES))
    if (end === piece.length) return more(start)
    if (isScalar(piece, start, end)) return end
    throw malformed(this.#base + start)
  }
}
