import type { FieldTable } from './guarded-fields.ts'
import { JsonScan } from './json-scan.ts'

/** Read between two looks at the clock: less than a millisecond of the worst. */
const PIECE_BYTES = 64 * 1024
/** Shorter chunks are joined first: each piece costs something of its own. */
const LEAST_CHUNK_BYTES = 1024

/** A body on its way through the scanner, in as many goes as it takes. */
export class JsonReading {
  readonly scan: JsonScan
  readonly #chunks: readonly Buffer[]
  #index = 0
  #at = 0

  constructor(chunks: readonly Buffer[], bytes: number, table: FieldTable) {
    this.scan = new JsonScan(table)
    this.#chunks =
      chunks.length * LEAST_CHUNK_BYTES > bytes && chunks.length > 1 ? [Buffer.concat(chunks)] : chunks
  }

  /** Reads on for `ms` at most, and a piece beyond; true: the body is read, and right. Throws `invalid_json`. */
  read(ms: number): boolean {
    // Nearly every body is one piece.
    const until = this.#isOnePiece ? 0 : performance.now() + ms
    for (;;) {
      const piece = this.#next()
      if (!piece) break
      this.scan.push(piece)
      if (until !== 0 && performance.now() >= until) return false
    }
    this.scan.end()
    return true
  }

  get #isOnePiece(): boolean {
    return this.#chunks.length === 1 && (this.#chunks[0]?.length ?? 0) <= PIECE_BYTES
  }

  #next(): Buffer | undefined {
    const chunk = this.#chunks[this.#index]
    if (!chunk) return undefined
    const from = this.#at
    const to = Math.min(chunk.length, from + PIECE_BYTES)
    this.#at = to
    if (to === chunk.length) {
      this.#index += 1
      this.#at = 0
    }
    return from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to)
  }
}
