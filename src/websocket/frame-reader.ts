import { FrameHead, findViolation, OPCODES, unmask, type Violation } from './frames.ts'

const EMPTY: Buffer = Buffer.alloc(0)

/** Where one direction stands between the frames and messages that pass: heads are read, payloads only counted. */
export class FrameReader {
  isInFrame = false
  /** Payload bytes of the current frame that are still to come. */
  left = 0
  /** What has come of a control frame's payload, in the clear. */
  control: Buffer = EMPTY
  /** A message has begun whose last fragment is still to come. */
  isFragmented = false
  readonly #head = new FrameHead()
  readonly #mask = Buffer.alloc(4)
  readonly #mustBeMasked: boolean
  readonly #maxBytes: number
  #messageBytes = 0

  constructor(mustBeMasked: boolean, maxBytes: number) {
    this.#mustBeMasked = mustBeMasked
    this.#maxBytes = maxBytes
  }

  get isControl(): boolean {
    return this.#head.isControl
  }

  get opcode(): number {
    return this.#head.opcode
  }

  /** The current frame ends its message. */
  get isFinal(): boolean {
    return this.#head.isFinal && !this.#head.isControl
  }

  get beginsMessage(): boolean {
    return !this.isControl && this.opcode !== OPCODES.continuation
  }

  /** `size` 0: some of the head is missing. */
  readHead(bytes: Buffer, at: number): { size: number; violation: Violation | undefined } {
    const size = this.#head.read(bytes, at)
    if (size === 0) return { size, violation: undefined }
    const violation = findViolation(this.#head, {
      mustBeMasked: this.#mustBeMasked,
      isFragmented: this.isFragmented,
      bytes: this.#messageBytes,
      maxBytes: this.#maxBytes,
    })
    if (this.#head.isMasked) bytes.copy(this.#mask, 0, this.#head.maskAt, this.#head.maskAt + 4)
    this.isInFrame = violation === undefined
    this.left = this.#head.length
    this.control = EMPTY
    if (!this.isControl) this.#messageBytes += this.#head.length
    return { size, violation }
  }

  /** Payload bytes in the clear; `offset`: how much of the frame's payload came before them. */
  clear(bytes: Buffer, offset: number): Buffer {
    return this.#head.isMasked ? unmask(bytes, this.#mask, offset) : bytes
  }

  /** Takes the next bytes of the payload; returns how much of it came before. */
  advance(bytes: Buffer): number {
    const offset = this.#head.length - this.left
    this.left -= bytes.length
    if (this.isControl) this.control = Buffer.concat([this.control, this.clear(bytes, offset)])
    return offset
  }

  endFrame(): void {
    this.isInFrame = false
    if (this.isControl) return
    this.isFragmented = !this.#head.isFinal
    if (this.#head.isFinal) this.#messageBytes = 0
  }
}
