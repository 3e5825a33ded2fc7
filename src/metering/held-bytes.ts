const FIRST_KEPT_BYTES = 256
const EMPTY: Buffer = Buffer.alloc(0)

/** The begun event, copied into a buffer that doubles: tiny chunks cost neither quadratic time nor an object each. */
export class HeldBytes {
  readonly #maxBytes: number
  #store = EMPTY
  #used = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  bytes(): number {
    return this.#used
  }

  bytesSoFar(): Buffer {
    return this.#used === 0 ? EMPTY : Buffer.from(this.#store.subarray(0, this.#used))
  }

  keep(chunk: Buffer, start: number): void {
    if (start < chunk.length) this.#add(chunk, start, chunk.length)
  }

  take(chunk: Buffer, start: number, end: number): Buffer {
    if (this.#used === 0) {
      if (end - start > this.#maxBytes) throw tooLarge(this.#maxBytes)
      return start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end)
    }
    this.#add(chunk, start, end)
    const event = this.#store.subarray(0, this.#used)
    this.#store = EMPTY
    this.#used = 0
    return event
  }

  #add(chunk: Buffer, start: number, end: number): void {
    const need = this.#used + end - start
    if (need > this.#maxBytes) throw tooLarge(this.#maxBytes)
    if (need > this.#store.length) {
      const larger = Buffer.allocUnsafe(Math.max(FIRST_KEPT_BYTES, need * 2))
      this.#store.copy(larger, 0, 0, this.#used)
      this.#store = larger
    }
    chunk.copy(this.#store, this.#used, start, end)
    this.#used = need
  }
}

const tooLarge = (maxBytes: number) =>
  Object.assign(new Error(`An event is longer than ${maxBytes} bytes`), { code: 'EVENT_TOO_LARGE' })
