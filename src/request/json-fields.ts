import { invalidRequest } from '../errors.ts'
import type { FieldTable } from './guarded-fields.ts'
import { JsonScan } from './json-scan.ts'
import type { FoundField } from './json-tokens.ts'

/** Stands for a value that is longer than what is kept of it: of the wrong type, whatever it is. */
const TOO_LONG = Symbol('too long')
const OPEN_BRACE = 0x7b
/** No other word than `null` begins with an n. */
const LETTER_N = 0x6e
/** Read between two looks at the clock: less than a millisecond of the worst. */
const PIECE_BYTES = 64 * 1024

/** A body on its way through the scanner, in as many goes as it takes. */
export class JsonReading {
  readonly scan: JsonScan
  readonly #body: Buffer
  #at = 0

  constructor(body: Buffer, table: FieldTable) {
    this.scan = new JsonScan(table)
    this.#body = body
  }

  /** Reads on for `ms` at most, and a piece beyond; true: the body is read, and right. Throws `invalid_json`. */
  read(ms: number): boolean {
    const { length } = this.#body
    // Nearly every body is one piece.
    if (length <= PIECE_BYTES) return this.#readAll()
    const until = performance.now() + ms
    while (this.#at < length) {
      const from = this.#at
      this.#at = Math.min(length, from + PIECE_BYTES)
      this.scan.push(this.#body.subarray(from, this.#at))
      if (this.#at < length && performance.now() >= until) return false
    }
    this.scan.end()
    return true
  }

  #readAll(): true {
    if (this.#at === 0) this.scan.push(this.#body)
    this.#at = this.#body.length
    this.scan.end()
    return true
  }
}

/** The guarded fields of a JSON body, each parsed only when asked for. */
export class JsonFields {
  readonly #scan: JsonScan

  constructor(scan: JsonScan) {
    this.#scan = scan
  }

  get rootStart(): number {
    return this.#scan.rootStart
  }

  find(path: string): FoundField | undefined {
    return this.#scan.found.findLast((field) => field.path === path)
  }

  /** The paths of all that is not null. */
  named(): string[] {
    return this.#scan.found.filter(({ opening }) => opening !== LETTER_N).map(({ path }) => path)
  }

  /** Undefined where the field is missing or null. */
  value(path: string): unknown {
    const field = this.find(path)
    return field && (parsed(field) ?? undefined)
  }

  /** Every value under a path that several objects of a list may have. */
  values(path: string): unknown[] {
    return this.#scan.found.filter((field) => field.path === path).map(parsed)
  }

  flag(path: string): boolean {
    const value = this.value(path) ?? false
    if (typeof value !== 'boolean') throw invalidRequest(`"${path}" must be true or false`, { param: path })
    return value
  }

  count(path: string): number | undefined {
    const value = this.value(path)
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
    throw invalidRequest(`"${path}" must be a whole number, 0 or more`, { param: path })
  }

  text(path: string): string {
    const value = this.value(path) ?? ''
    if (typeof value === 'string') return value
    throw invalidRequest(value === TOO_LONG ? `"${path}" is too long` : `"${path}" must be a string`, {
      param: path,
    })
  }

  /** The object under a path, its value unread; undefined where it is missing or null. */
  object(path: string): FoundField | undefined {
    const field = this.find(path)
    if (!field || field.opening === LETTER_N) return undefined
    if (field.opening === OPEN_BRACE) return field
    throw invalidRequest(`"${path}" must be an object`, { param: path })
  }
}

/** The scanner has read the text as JSON but for the inside of long strings. */
function parsed({ text }: FoundField): unknown {
  if (text === undefined) return TOO_LONG
  try {
    return JSON.parse(text)
  } catch {
    return TOO_LONG
  }
}
