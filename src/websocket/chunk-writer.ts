import type { Duplex } from 'node:stream'

const EMPTY: Buffer = Buffer.alloc(0)

/** Writes the chunks of one lane on as they came, but for what is held back or left out. */
export class ChunkWriter {
  readonly #to: Duplex
  #chunk = EMPTY
  #written = 0
  /** What came with earlier chunks and may not pass yet. */
  #held: Buffer[] = []

  constructor(to: Duplex) {
    this.#to = to
  }

  get isHolding(): boolean {
    return this.#held.length > 0
  }

  begin(chunk: Buffer): void {
    this.#chunk = chunk
    this.#written = 0
  }

  /** All of the chunk before `end`, as far as it is not written. */
  writeUpTo(end: number): void {
    if (end > this.#written) this.write(this.#chunk.subarray(this.#written, end))
    this.#written = Math.max(end, this.#written)
  }

  /** Writes what stands before `start`, and keeps the rest up to `end`. */
  hold(start: number, end: number): void {
    this.writeUpTo(start)
    this.#held.push(this.#chunk.subarray(start, end))
    this.#written = end
  }

  release(): void {
    for (const bytes of this.#held) this.write(bytes)
    this.#held = []
  }

  /** Leaves out what is held, and the chunk from `start` to `end`. */
  leaveOut(start: number, end: number): void {
    this.writeUpTo(start)
    this.#held = []
    this.#written = end
  }

  /** What is held, as one buffer. */
  heldBytes(): Buffer {
    return this.#held.length === 0 ? EMPTY : Buffer.concat(this.#held)
  }

  end(): void {
    this.#chunk = EMPTY
    this.#written = 0
  }

  forget(): void {
    this.#held = []
  }

  write(bytes: Buffer): void {
    if (bytes.length > 0 && this.#to.writable) this.#to.write(bytes)
  }
}
