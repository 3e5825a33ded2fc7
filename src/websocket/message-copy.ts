/** Looks at messages as they pass, text and binary alike: an event is JSON in either. */
export interface MessageInspector {
  /** How many of a message's first bytes are shown. */
  headBytes: number
  /** How many of its last bytes are kept beyond those. */
  tailBytes: number
  /** A message begins. */
  begin?(): void
  /** All of its bytes, in the clear, piece by piece and before they pass. */
  read?(piece: Buffer): void
  /** The first bytes, of one fragment or many, before any of the message passes; a promise holds it (and its sender) back. */
  gate(head: Buffer): Promise<void> | undefined
  /** When that promise resolves: frames, or no bytes at all, that pass in the place of the message, which has to be whole. */
  instead?(): Buffer | undefined
  /** The message has passed. */
  passed(head: Buffer, tail: Buffer, bytes: number): void
}

/** How many fragments wait at most until they show enough of their message: one may be empty. */
const MOST_WAITING = 1_024

/** What an inspector sees of one message: bounded, whatever its length. */
export class MessageCopy {
  readonly #inspector: MessageInspector
  #parts: Buffer[] = []
  #partBytes = 0
  #tail: Buffer = Buffer.alloc(0)
  #bytes = 0
  #waiting = 0
  #hasAsked = false

  constructor(inspector: MessageInspector) {
    this.#inspector = inspector
  }

  /** Whether the message may not pass before `ask`. */
  get mustAsk(): boolean {
    return !this.#hasAsked
  }

  get isFull(): boolean {
    return this.#partBytes >= this.#inspector.headBytes
  }

  /** One more fragment waits for what comes after it; false: it need not, or may not. */
  wait(): boolean {
    this.#waiting += 1
    return !this.isFull && this.#waiting <= MOST_WAITING
  }

  begin(): void {
    this.#waiting = 0
    this.#hasAsked = false
    this.#parts = []
    this.#partBytes = 0
    this.#bytes = 0
    if (this.#tail.length > 0) this.#tail = Buffer.alloc(0)
    this.#inspector.begin?.()
  }

  /** `clear` takes the mask off what is kept; `skip` is where in `bytes` that begins. */
  add(bytes: Buffer, clear: (part: Buffer, skip: number) => Buffer): void {
    const { headBytes, tailBytes } = this.#inspector
    this.#bytes += bytes.length
    const room = Math.min(bytes.length, headBytes - this.#partBytes)
    if (this.#inspector.read) {
      const plain = clear(bytes, 0)
      this.#inspector.read(plain)
      if (room > 0) this.#parts.push(room === plain.length ? plain : Buffer.from(plain.subarray(0, room)))
      this.#partBytes += Math.max(0, room)
    } else if (room > 0) {
      this.#parts.push(clear(bytes.subarray(0, room), 0))
      this.#partBytes += room
    }
    if (room === bytes.length || tailBytes === 0) return
    const skip = Math.max(room, bytes.length - tailBytes)
    this.#tail = Buffer.concat([this.#tail, clear(bytes.subarray(skip), skip)]).subarray(-tailBytes)
  }

  ask(): Promise<void> | undefined {
    this.#hasAsked = true
    return this.#inspector.gate(this.#head())
  }

  instead(): Buffer | undefined {
    return this.#inspector.instead?.()
  }

  end(): void {
    this.#inspector.passed(this.#head(), this.#tail, this.#bytes)
  }

  #head(): Buffer {
    const [first] = this.#parts
    if (this.#parts.length > 1 || !first) this.#parts = [Buffer.concat(this.#parts)]
    return this.#parts[0] ?? Buffer.alloc(0)
  }
}
