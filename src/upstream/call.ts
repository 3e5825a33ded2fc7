import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Deadline, Deadlines } from '../deadlines.ts'
import { asError } from '../errors.ts'
import { ChunkedReader } from './chunked-body.ts'
import type { AnswerHead, Framing } from './heads.ts'
import {
  PieceSender,
  type RequestBody,
  type Sending,
  type SendListener,
  StreamSender,
} from './request-body.ts'
import { UpstreamError } from './rules.ts'

/** What is read of answers. */
interface AnswerRules {
  maxHeadBytes: number
  /** Before the answer itself. */
  maxInterimHeads: number
  wantsTrailers: boolean
}

const HEAD_END = '\r\n\r\n'
/** Head and body leave as one buffer up to this size: copying costs less than a second piece. */
const ONE_PIECE_BYTES = 16 * 1024
export const DONE: Sending = { isDone: () => true, awaitsSource: () => false, stop: () => {} }

/**
 * One request and its answer on one connection: never follows a redirect, never repeats itself. What is sent, how long which
 * silence may last and who hears of what, its two kinds say: a POST to a provider, any request of a service.
 */
export abstract class Call<Head extends AnswerHead = AnswerHead> implements SendListener {
  /** For the connection that is made for it; undefined: as for all. */
  readonly connectTimeoutMs: number | undefined
  /** It is not sent on a kept connection. */
  readonly isFresh: boolean = false
  /** Whatever of it is late. */
  protected readonly deadline: Deadline
  /** Its connection has carried another one before. */
  protected wasKept = false
  readonly #rules: AnswerRules
  #socket: Socket | undefined
  #sending: Sending | undefined
  #isOver = false
  #headBytes: Buffer | undefined
  #interimHeads = 0
  #head: Head | undefined
  #body: BodyReader | undefined

  constructor(deadlines: Deadlines, rules: AnswerRules) {
    this.deadline = deadlines.open(() => this.ranOut())
    this.#rules = rules
  }

  /** The request on its way, or why it cannot be sent. */
  protected abstract start(socket: Socket, authority: string): Sending | Error
  /** It has left, but for what of its body is still to come. */
  protected abstract left(): void
  /** A piece of the body has left, or all of it. */
  abstract progress(): void
  protected abstract readHead(text: string): Head
  protected abstract informed(head: Head): void
  protected abstract answered(head: Head): void
  /** Bytes of the answer's body are here, framing included. */
  protected abstract alive(): void
  /** The caller's bytes again afterwards. */
  protected abstract passed(payload: Buffer): void
  protected abstract resumed(): void
  protected abstract ranOut(): void
  /** It is over, whatever way; the report comes behind it. */
  protected abstract stopped(): void
  protected abstract ended(body: BodyReader | undefined): void
  protected abstract failed(error: Error): void

  /** The connection stands: the request leaves. */
  send(socket: Socket, authority: string, wasKept: boolean): void {
    this.#socket = socket
    this.wasKept = wasKept
    const sending = this.start(socket, authority)
    if (sending instanceof Error) return this.fail(sending)
    this.#sending = sending
    if (this.#isOver) sending.stop()
    else this.left()
  }

  bodyFailed(error: Error): void {
    this.fail(error)
  }

  /** Nothing more is reported. */
  abandon(): void {
    this.#stop()
    this.#socket?.destroy()
  }

  fail(error: Error): void {
    const isReported = !this.#isOver
    this.#stop()
    this.#socket?.destroy()
    if (isReported) this.failed(error)
  }

  pause(): void {
    if (this.#isOver) return
    this.deadline.stop()
    this.#socket?.pause()
  }

  resume(): void {
    if (this.#isOver) return
    this.resumed()
    this.#socket?.resume()
  }

  isOver(): boolean {
    return this.#isOver
  }

  /** The head of the final answer is here. */
  protected get hasAnswer(): boolean {
    return this.#head !== undefined
  }

  /** All of the body that is there has left, but not its end. */
  protected get awaitsBody(): boolean {
    return this.#sending?.awaitsSource() === true
  }

  /**
   * Reads bytes of the answer, the caller's again afterwards; returns how long the connection may wait for its next
   * request once they end it, else undefined.
   */
  read(bytes: Buffer): number | undefined {
    try {
      const rest = this.#body ? bytes : this.#readHead(bytes)
      if (!rest || !this.#body) return undefined
      return this.#readBody(this.#body, rest)
    } catch (error) {
      this.fail(asError(error))
      return undefined
    }
  }

  /** The other side has closed its own. */
  hungUp(): void {
    if (this.#head?.framing === 'close') this.#end()
    else this.fail(new UpstreamError('CLOSED_EARLY', 'The other side hung up before its answer was whole'))
  }

  #readHead(bytes: Buffer): Buffer | undefined {
    let rest = this.#headBytes ? Buffer.concat([this.#headBytes, bytes]) : bytes
    this.#headBytes = undefined
    while (!this.#isOver) {
      const end = rest.indexOf(HEAD_END)
      if ((end === -1 ? rest.length : end) > this.#rules.maxHeadBytes)
        throw badAnswer('The head of the answer is too large')
      if (end === -1) {
        this.#headBytes = Buffer.from(rest)
        return undefined
      }
      const head = this.readHead(rest.toString('latin1', 0, end))
      rest = rest.subarray(end + HEAD_END.length)
      if (head.status >= 200) {
        this.#begin(head)
        return rest
      }
      // 101 was not asked for; of the others nobody has a reason to send many (RFC 9110 section 15.2).
      this.#interimHeads += 1
      if (head.status === 101 || this.#interimHeads > this.#rules.maxInterimHeads)
        throw badAnswer('Unexpected interim answers')
      this.informed(head)
    }
    return undefined
  }

  #begin(head: Head): void {
    this.#head = head
    this.#body = createBodyReader(head.framing, this.#rules.wantsTrailers)
    this.answered(head)
  }

  #readBody(body: BodyReader, bytes: Buffer): number | undefined {
    if (this.#isOver) return undefined
    if (bytes.length > 0) this.alive()
    const payload = bytes.length > 0 ? body.read(bytes) : bytes
    if (payload.length > 0) this.passed(payload)
    if (this.#isOver || !body.isComplete()) return undefined
    const canKeep = this.#sending?.isDone() && !body.hasSurplus()
    const keepMs = canKeep ? (this.#head?.keepMs ?? 0) : 0
    this.#end()
    return keepMs
  }

  #end(): void {
    const isReported = !this.#isOver
    this.#stop()
    if (isReported) this.ended(this.#body)
  }

  #stop(): void {
    this.#isOver = true
    this.deadline.stop()
    this.#sending?.stop()
    this.stopped()
  }
}

/** The line that says how long a body is. */
export function framingLine({ body, length }: RequestBody): string {
  if (body instanceof Readable && length === undefined) return 'transfer-encoding: chunked\r\n'
  return `content-length: ${Buffer.isBuffer(body) ? body.length : (length ?? 0)}\r\n`
}

/** Sends a whole head and its body. */
export function startSending(
  socket: Socket,
  head: string,
  { body, length }: RequestBody,
  listener: SendListener,
): Sending {
  if (body instanceof Readable) return new StreamSender(socket, head, { body, length, listener })
  const size = Buffer.isBuffer(body) ? body.length : (length ?? 0)
  const pieces = Buffer.isBuffer(body) ? [body] : body
  if (size > ONE_PIECE_BYTES) return new PieceSender(socket, head, pieces, listener)
  const bytes = Buffer.allocUnsafe(head.length + size)
  let at = bytes.write(head, 0, 'latin1')
  for (const piece of pieces) at += piece.copy(bytes, at)
  socket.write(bytes)
  return DONE
}

/** Takes the framing off a body, whatever the pieces it comes in. */
export interface BodyReader {
  /** The payload of these bytes, moved together inside them. Throws `BAD_ANSWER`. */
  read(bytes: Buffer): Buffer
  isComplete(): boolean
  /** Something came behind the end: the connection cannot be trusted with another request. */
  hasSurplus(): boolean
  /** What stood behind the last chunk and may stand there, names and values in turn. */
  trailers(): string[]
}

/** Trailers that nobody wants are read past, whatever they are. */
export function createBodyReader(framing: Framing, wantsTrailers = false): BodyReader {
  if (framing === 'chunked') return new ChunkedReader(wantsTrailers)
  return new PlainReader(framing === 'close' ? Number.POSITIVE_INFINITY : framing.length)
}

/** A body of known length, or one that ends with its connection. */
class PlainReader implements BodyReader {
  #left: number
  #hasSurplus = false

  constructor(length: number) {
    this.#left = length
  }

  read(bytes: Buffer): Buffer {
    const payload = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes
    this.#left -= payload.length
    if (payload !== bytes) this.#hasSurplus = true
    return payload
  }

  isComplete(): boolean {
    return this.#left === 0
  }

  hasSurplus(): boolean {
    return this.#hasSurplus
  }

  trailers(): string[] {
    return []
  }
}

function badAnswer(text: string) {
  return new UpstreamError('BAD_ANSWER', text)
}
