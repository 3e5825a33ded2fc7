import type { Duplex } from 'node:stream'

const EMPTY: Buffer = Buffer.alloc(0)

/** The chunk that one lane reads: how far it is read, and what of it is written, held back or left out. */
export class ChunkWriter {
  readonly #to: Duplex
  #chunk = EMPTY
  /** How far it is read, and where the current frame began. */
  #at = 0
  #frameAt = 0
  #written = 0
  /** What came with earlier chunks and may not pass yet. */
  #held: Buffer[] = []
  /** Whole fragments before the current frame that may not pass yet either. */
  #kept: Buffer[] = []

  constructor(to: Duplex) {
    this.#to = to
  }

  begin(chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
    this.#frameAt = 0
    this.#written = 0
  }

  /** Between `begin` and `end`. */
  get isOpen(): boolean {
    return this.#chunk !== EMPTY
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#chunk.length
  }

  /** A frame begins here; shows its bytes so far, and how many of them came with earlier chunks. */
  beginFrame(): { bytes: Buffer; at: number; early: number } {
    this.#frameAt = this.#at
    if (this.#held.length === 0) return { bytes: this.#chunk, at: this.#at, early: 0 }
    const early = Buffer.concat(this.#held)
    return { bytes: Buffer.concat([early, this.#chunk.subarray(0, 14)]), at: 0, early: early.length }
  }

  endFrame(): void {
    this.#frameAt = this.#at
  }

  skip(size: number): void {
    this.#at += size
  }

  /** Reads at most `size` bytes. */
  read(size: number): Buffer {
    const bytes = this.#chunk.subarray(this.#at, this.#at + size)
    this.#at += bytes.length
    return bytes
  }

  /** What is not read yet. */
  rest(): Buffer {
    return this.#chunk.subarray(this.#at)
  }

  /** All of the chunk that is read, as far as it is not written. */
  writeRead(): void {
    this.#writeUpTo(this.#at)
  }

  writeBeforeFrame(): void {
    this.#writeUpTo(this.#frameAt)
  }

  /** The chunk is read: all of it, or what stands before the current frame, which may not pass yet. */
  writeChunk(mayPass: boolean): void {
    if (mayPass) this.#writeUpTo(this.#chunk.length)
    else this.holdFrame(true)
  }

  /** Writes what stands before the current frame, and keeps what is read of it (`isAll`: what there is of it). */
  holdFrame(isAll: boolean): void {
    this.writeBeforeFrame()
    const end = isAll ? this.#chunk.length : this.#at
    this.#held.push(this.#chunk.subarray(this.#frameAt, end))
    this.#written = end
  }

  /** Fragments wait: of their message nothing has passed. */
  get isKeeping(): boolean {
    return this.#kept.length > 0
  }

  /** Lets a whole fragment wait for more of its message. */
  keepFrame(): void {
    this.writeBeforeFrame()
    // A copy: it may be a crumb of a large chunk.
    this.#kept.push(Buffer.concat([...this.#held, this.#chunk.subarray(this.#frameAt, this.#at)]))
    this.#held = []
    this.#written = this.#at
  }

  /** Lets the message pass that waits. */
  release(): void {
    // They leave as one: a thousand fragments would be a thousand writes in the socket's queue.
    if (this.#kept.length > 0) this.write(Buffer.concat(this.#kept))
    this.#kept = []
    this.releaseFrame()
  }

  /** Lets the current frame pass alone. */
  releaseFrame(): void {
    for (const bytes of this.#held) this.write(bytes)
    this.#held = []
  }

  /** Writes these bytes in the place of the message that waits, whose last frame is the current one. */
  replaceMessage(bytes: Buffer): void {
    this.writeBeforeFrame()
    this.forget()
    this.#written = this.#at
    this.write(bytes)
  }

  /** Leaves out the current frame. */
  leaveOutFrame(): void {
    this.writeBeforeFrame()
    this.#held = []
    this.#written = this.#at
  }

  end(): void {
    this.begin(EMPTY)
  }

  forget(): void {
    this.#kept = []
    this.#held = []
  }

  write(bytes: Buffer): void {
    if (bytes.length > 0 && this.#to.writable) this.#to.write(bytes)
  }

  #writeUpTo(end: number): void {
    if (end > this.#written) this.write(this.#chunk.subarray(this.#written, end))
    this.#written = Math.max(end, this.#written)
  }
}
