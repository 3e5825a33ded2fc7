/** A buffer is never longer than so many times what has really arrived, and its pages are memory only once written. */
const GROWTH = 4
/** Smaller than this is left to the garbage collector: to detach it would cost more than it is worth. */
const LEAST_GIVEN_BACK_BYTES = 4 * 1024
const EMPTY: Buffer = Buffer.alloc(0)

/**
 * Gives memory back now and not at some garbage collection. Only for bytes that nobody else holds, and that were never
 * handed to a socket or a file: the kernel may still be reading those.
 */
export function giveBack({ buffer, length, byteLength }: Buffer): void {
  const isAlone = buffer.byteLength === byteLength && length >= LEAST_GIVEN_BACK_BYTES
  if (isAlone && buffer instanceof ArrayBuffer) buffer.transfer(0)
}

/** Bytes that arrive in pieces of any size, in one buffer: a million pieces of one byte cost a million bytes. */
export class GatheredBytes {
  /** The bytes that were announced, or may come at most: the buffer need never be longer. */
  readonly #mostBytes: number
  #store = EMPTY
  #used = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  get bytes(): number {
    return this.#used
  }

  /** Takes the piece over: it is copied and given back, or kept when it is all there will be. */
  add(piece: Buffer): void {
    if (this.#used === 0 && piece.length === this.#mostBytes) {
      this.#store = piece
      this.#used = piece.length
      return
    }
    this.copy(piece)
    giveBack(piece)
  }

  /** Copies a piece that somebody else goes on using. */
  copy(piece: Buffer): void {
    const need = this.#used + piece.length
    if (need > this.#store.length) this.#grow(need)
    this.#store.set(piece, this.#used)
    this.#used = need
  }

  /** What was gathered, in one piece, the caller's from now on; nothing is left here. */
  take(): Buffer {
    const whole = this.#used === this.#store.length ? this.#store : this.#store.subarray(0, this.#used)
    this.#store = EMPTY
    this.#used = 0
    return whole
  }

  /** Nobody wants them any more. */
  discard(): void {
    giveBack(this.#store)
    this.#store = EMPTY
    this.#used = 0
  }

  #grow(need: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(need, Math.min(need * GROWTH, this.#mostBytes)))
    larger.set(this.#store.subarray(0, this.#used))
    giveBack(this.#store)
    this.#store = larger
  }
}
