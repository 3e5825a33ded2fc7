import type { FieldTable } from './guarded-fields.ts'
import { JsonScan } from './json-scan.ts'

/** Read between two looks at the clock: less than a millisecond of the worst. */
export const PIECE_BYTES = 64 * 1024

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
