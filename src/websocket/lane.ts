import type { Duplex } from 'node:stream'
import { ChunkWriter } from './chunk-writer.ts'
import { FrameReader } from './frame-reader.ts'
import { OPCODES, readCloseCode, type Violation } from './frames.ts'
import { MessageCopy, type MessageInspector } from './message-copy.ts'

export interface LaneListener {
  /** The sender broke a rule; nothing more of it passes. */
  broken(code: Violation): void
  /** A close frame is about to pass. */
  closing(code: number): void
  /** Whether this pong answers a ping of the gateway's own. */
  isOwnPong(payload: Buffer): boolean
}

export interface LaneOptions {
  from: Duplex
  to: Duplex
  /** Whether it comes from a client, whose frames are masked. */
  isMasked: boolean
  maxMessageBytes: number
  listener: LaneListener
  inspector?: MessageInspector | undefined
  mask?: ByteMask | undefined
}

/** Hides something in what passes. It changes bytes where they are, and their number never: it may work on frames as they come. */
export interface ByteMask {
  /** What of these bytes, and of those held back before, may leave. */
  pass(chunk: Buffer): Buffer
  /** How many bytes are held back, for they may be the beginning of what it hides. */
  readonly held: number
  /** What is held back and was nothing to hide after all. */
  rest(): Buffer
}

/**
 * `holding`: the current frame waits until its message may pass, or none has begun; `passing`: its bytes pass as they
 * come; `asking`: its message is being judged, and its sender waits; `cut`: nothing passes any more.
 */
type LaneState = 'holding' | 'passing' | 'asking' | 'cut'

/**
 * One direction of a relay. Bytes pass as they came; only heads are read, so that frames of our own fall between
 * frames. Nothing of a frame passes before its head is whole and right.
 */
export class Lane {
  messages = 0
  bytes = 0
  readonly #options: LaneOptions
  readonly #out: ChunkWriter
  readonly #frame: FrameReader
  readonly #copy: MessageCopy | undefined
  #state: LaneState = 'holding'
  readonly #own = new OwnFrames()

  constructor(options: LaneOptions) {
    this.#options = options
    this.#out = new ChunkWriter(options.to)
    this.#frame = new FrameReader(options.isMasked, options.maxMessageBytes)
    if (options.inspector) this.#copy = new MessageCopy(options.inspector)
    options.to.on('drain', () => this.#flow())
  }

  /** Whether it holds its sender back at the moment. */
  get isPaused(): boolean {
    return this.#state === 'asking' || this.#options.to.writableNeedDrain
  }

  push(chunk: Buffer): void {
    this.bytes += chunk.length
    this.#walk(this.#options.mask?.pass(chunk) ?? chunk)
    this.#walkHeld()
    this.#flow()
  }

  /** The beginning of a key is held back only inside of a frame that needs more than it: no whole frame may wait. */
  #walkHeld(): void {
    const { mask } = this.#options
    if (!mask || mask.held === 0 || !this.#isReading) return
    if (this.#frame.isInFrame && this.#frame.left > mask.held) return
    this.#walk(mask.rest())
  }

  /** Whether frames are read at the moment: neither is one being judged nor is all over. */
  get #isReading(): boolean {
    return this.#state === 'holding' || this.#state === 'passing'
  }

  /** Puts a frame of our own between two frames, or when it holds a message between two messages. */
  insert(frame: Buffer, isMessage = false): void {
    if (this.#state === 'cut') return
    this.#own.add(frame, isMessage)
    if (!this.#out.isOpen) this.#writeOwn()
  }

  /** The last that passes: after the current frame, or after the current message when it holds one itself. */
  finish(frame: Buffer, isMessage: boolean, done: () => void): void {
    if (this.#state === 'cut') return
    this.#own.addLast(frame, isMessage, done)
    if (!this.#out.isOpen) this.#writeOwn()
  }

  #walk(chunk: Buffer): void {
    this.#out.begin(chunk)
    while (!this.#out.isAtEnd && this.#isReading) {
      if (this.#frame.isInFrame) this.#readPayload()
      else if (!this.#readHead()) break
    }
    if (this.#isReading)
      this.#out.writeChunk(this.#frame.isInFrame ? this.#state === 'passing' : this.#out.isAtEnd)
    this.#out.end()
    this.#writeOwn()
  }

  /** False: some of it is still to come. */
  #readHead(): boolean {
    const { bytes, at, early } = this.#out.beginFrame()
    const { size, violation } = this.#frame.readHead(bytes, at)
    if (size === 0) return false
    if (violation) return this.#break(violation)
    this.#out.skip(size - early)
    this.#state = 'holding'
    if (this.#frame.beginsMessage) this.#copy?.begin()
    if (!this.#frame.isControl && !this.#copy?.mustAsk) this.#pass()
    if (this.#frame.left === 0) this.#endPayload()
    return true
  }

  #readPayload(): void {
    const frame = this.#frame
    const bytes = this.#out.read(frame.left)
    const offset = frame.advance(bytes)
    if (!frame.isControl) this.#copy?.add(bytes, (part, skip) => frame.clear(part, offset + skip))
    if (frame.left === 0) this.#endPayload()
    else if (this.#copy?.isFull && this.#state === 'holding' && !frame.isControl) this.#ask()
  }

  #endPayload(): void {
    if (this.#frame.isControl) this.#endControl()
    else if (this.#state === 'passing' || this.#keep() || this.#ask()) this.#endFrame()
  }

  /** A fragment waits while too little of its message has come to judge it; false: there is enough. */
  #keep(): boolean {
    if (this.#frame.isFinal || !this.#copy?.wait()) return false
    this.#out.keepFrame()
    return true
  }

  #endControl(): void {
    const { opcode, control } = this.#frame
    const { listener } = this.#options
    if (opcode === OPCODES.pong && listener.isOwnPong(control)) this.#out.leaveOutFrame()
    else this.#out.releaseFrame()
    if (opcode === OPCODES.close) listener.closing(readCloseCode(control))
    this.#endFrame()
  }

  #endFrame(): void {
    this.#frame.endFrame()
    this.#out.endFrame()
    if (this.#frame.isFinal) {
      this.messages += 1
      this.#copy?.end()
    }
    if (this.#own.isEmpty) return
    this.#out.writeRead()
    this.#writeOwn()
  }

  /** Asks the inspector whether the message may pass; false: it takes a moment, the rest of the chunk waits. */
  #ask(): boolean {
    const answer = this.#copy?.ask()
    if (!answer) return this.#pass()
    this.#out.holdFrame(false)
    const go = this.#goOn.bind(this, this.#out.rest())
    this.#state = 'asking'
    answer.then(go, go)
    return false
  }

  #goOn(rest: Buffer): void {
    if (this.#state === 'asking') {
      const instead = this.#copy?.instead()
      if (instead) this.#replace(instead)
      else this.#pass()
      if (this.#frame.left === 0 && this.#isReading) this.#endFrame()
      this.#walk(rest)
      this.#walkHeld()
    }
    this.#flow()
  }

  #pass(): true {
    this.#state = 'passing'
    this.#out.release()
    return true
  }

  /** Of a message that is here in part the rest would pass behind what stands in its place. */
  #replace(instead: Buffer): void {
    if (!this.#frame.isFinal || this.#frame.left > 0) return void this.#break(1009)
    this.#state = 'passing'
    this.#out.replaceMessage(instead)
  }

  #break(code: Violation): false {
    this.#out.writeBeforeFrame()
    this.#cut()
    this.#options.listener.broken(code)
    return false
  }

  #cut(): void {
    this.#state = 'cut'
    this.#out.forget()
  }

  /** Writes where no frame is open; else it is called again when the current one ends. */
  #writeOwn(): void {
    const isOpen = this.#frame.isInFrame && this.#state === 'passing'
    if (this.#own.isEmpty || isOpen || this.#state === 'cut') return
    const isInMessage = this.#frame.isFragmented && !this.#out.isKeeping
    if (this.#own.write(isInMessage, (bytes) => this.#out.write(bytes))) this.#cut()
  }

  /** The sender waits while the receiver does not take what was sent. */
  #flow(): void {
    const { from } = this.#options
    if (this.isPaused && this.#state !== 'cut') from.pause()
    else if (from.isPaused()) from.resume()
  }
}

interface OwnFrame {
  bytes: Buffer
  /** It holds a message, so it cannot stand between the fragments of another. */
  isMessage: boolean
  /** It is called when the frame is written. */
  done(): void
}

/** Frames of the gateway's own that wait for their place between those that pass. */
class OwnFrames {
  #next: OwnFrame[] = []
  #last: OwnFrame | undefined

  get isEmpty(): boolean {
    return this.#next.length === 0 && !this.#last
  }

  add(bytes: Buffer, isMessage: boolean): void {
    this.#next.push({ bytes, isMessage, done: () => {} })
  }

  addLast(bytes: Buffer, isMessage: boolean, done: () => void): void {
    this.#last ??= { bytes, isMessage, done }
  }

  /** Writes what may stand between two frames; true when that was the last. */
  write(isInMessage: boolean, write: (bytes: Buffer) => void): boolean {
    const isKept = ({ isMessage }: OwnFrame): boolean => isMessage && isInMessage
    const kept = isInMessage ? this.#next.filter(isKept) : []
    for (const each of this.#next) if (!isKept(each)) write(each.bytes)
    this.#next = kept
    if (!this.#last || (this.#last.isMessage && isInMessage)) return false
    write(this.#last.bytes)
    this.#last.done()
    return true
  }
}
