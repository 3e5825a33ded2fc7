const LEAST_ROOM_BYTES = 4096

/** The bytes that are being looked at, of a stream whose chunks break anywhere: each byte is copied a few times at most. */
export class ByteWindow {
  bytes: Buffer
  /** What `bytes` stands in, once chunks were put together; empty: it is a chunk as it came. */
  #store: Buffer = Buffer.alloc(0)
  /** Where `bytes` ends there. */
  #end = 0
  /** No match begins before here. */
  #searched = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  append(chunk: Buffer): void {
    const { length } = this.bytes
    if (length === 0) {
      this.bytes = chunk
      this.#store = chunk.subarray(0, 0)
      return
    }
    if (this.#store.length - this.#end < chunk.length) this.#move(chunk.length)
    chunk.copy(this.#store, this.#end)
    this.#end += chunk.length
    this.bytes = this.#store.subarray(this.#end - length - chunk.length, this.#end)
  }

  /** Where the text stands, searched on from where the last search for it ended; -1: nowhere yet. */
  find(text: Buffer): number {
    const found = this.bytes.indexOf(text, this.#searched)
    this.#searched = found === -1 ? Math.max(this.#searched, this.bytes.length - text.length + 1, 0) : found
    return found
  }

  /** What was found before here is none. */
  passed(at: number): void {
    this.#searched = at
  }

  /** Moves past so many bytes; another text may be searched from there on. */
  skip(bytes: number): void {
    this.bytes = this.bytes.subarray(bytes)
    this.#searched = Math.max(0, this.#searched - bytes)
  }

  /** Moves into a larger store; twice as large where chunks are small, lest every one is followed by a copy of all. */
  #move(more: number): void {
    const { length } = this.bytes
    const needed = length + more
    const store = Buffer.allocUnsafeSlow(
      more > length ? Math.max(needed, LEAST_ROOM_BYTES) : 2 * Math.max(needed, LEAST_ROOM_BYTES),
    )
    this.bytes.copy(store)
    this.#store = store
    this.#end = length
  }
}
