import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Deadline, Deadlines } from '../deadlines.ts'
import { asError, invalidRequest } from '../errors.ts'
import {
  PieceSender,
  type RequestBody,
  type Sending,
  type SendListener,
  StreamSender,
} from './request-body.ts'
import {
  type AnswerHeaders,
  type BodyReader,
  createBodyReader,
  type ResponseHead,
  readResponseHead,
} from './response.ts'
import { MAX_HEAD_BYTES, UpstreamError } from './rules.ts'

/** What becomes of one ask of a provider: `answered` at most once, then exactly one of `ended` and `failed`. */
export interface CallListener {
  /** The head of an answer is here. False: it is not wanted; the rest is thrown away, nothing more is reported. */
  answered(status: number, headers: AnswerHeaders): boolean
  data(bytes: Buffer): void
  ended(): void
  failed(error: Error): void
}

export interface CallRequest {
  path: string
  /** Names and values in turn; `host` and the body's length are added. */
  headers: readonly string[]
  body: RequestBody
  /** Until a stream's head, and again until its first byte; or until a whole answer's end. Each piece of the body that leaves begins it anew. */
  answerTimeoutMs: number
  /** The longest silence inside a stream, comments count as life; undefined: a whole answer is asked for. */
  idleTimeoutMs: number | undefined
}

/** Head and body leave as one buffer up to this size: copying costs less than a second piece. */
const ONE_PIECE_BYTES = 16 * 1024
const DONE: Sending = { isDone: () => true, stop: () => {} }
const UNSAFE = /[^\t\x20-\x7e\x80-\xff]/
const HEAD_END = '\r\n\r\n'
const MAX_INTERIM_HEADS = 10
/** A refused answer up to this size is read to its end, so that the connection can be used again. */
const MAX_DISCARDED_BYTES = 64 * 1024
const DISCARD_TIMEOUT_MS = 2_000

/** One POST and its answer on one connection: never follows a redirect, never repeats itself. */
export class Call implements SendListener {
  readonly #request: CallRequest
  readonly #listener: CallListener
  readonly #keepAliveMs: number
  #socket: Socket | undefined
  #sending: Sending | undefined
  readonly #deadline: Deadline
  #state: 'waiting' | 'wanted' | 'discarded' | 'over' = 'waiting'
  #headBytes: Buffer | undefined
  #interimHeads = 0
  #head: ResponseHead | undefined
  #body: BodyReader | undefined
  /** A stream's first byte is here. */
  #isFlowing = false
  #discardedBytes = 0

  constructor(
    request: CallRequest,
    listener: CallListener,
    { keepAliveMs, deadlines }: { keepAliveMs: number; deadlines: Deadlines },
  ) {
    this.#request = request
    this.#listener = listener
    this.#keepAliveMs = keepAliveMs
    this.#deadline = deadlines.open(() => this.#runOut())
  }

  /** The connection stands: the request leaves. */
  send(socket: Socket, authority: string): void {
    const { path, headers, body, answerTimeoutMs } = this.#request
    this.#socket = socket
    const head = requestHead(path, authority, headers)
    if (head instanceof Error) return this.fail(head)
    this.#deadline.start(answerTimeoutMs)
    this.#sending = sendRequest(socket, head, body, this)
  }

  /** A piece of the body has left: the provider's time to answer begins again. */
  progress(): void {
    if (!this.#head && this.#state !== 'over') this.#deadline.again()
  }

  /** Nothing more is reported. */
  abandon(): void {
    this.#stop()
    this.#socket?.destroy()
  }

  fail(error: Error): void {
    const isReported = this.#state === 'waiting' || this.#state === 'wanted'
    this.#stop()
    this.#socket?.destroy()
    if (isReported) this.#listener.failed(error)
  }

  pause(): void {
    if (this.#state === 'over') return
    this.#deadline.stop()
    this.#socket?.pause()
  }

  resume(): void {
    if (this.#state === 'over') return
    const { answerTimeoutMs, idleTimeoutMs = answerTimeoutMs } = this.#request
    this.#deadline.start(idleTimeoutMs)
    this.#socket?.resume()
  }

  isOver(): boolean {
    return this.#state === 'over'
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

  /** The provider has closed its side. */
  hungUp(): void {
    if (this.#head?.framing === 'close') this.#end()
    else this.fail(new UpstreamError('CLOSED_EARLY', 'The provider hung up before its answer was whole'))
  }

  #readHead(bytes: Buffer): Buffer | undefined {
    let rest = this.#headBytes ? Buffer.concat([this.#headBytes, bytes]) : bytes
    this.#headBytes = undefined
    for (;;) {
      const end = rest.indexOf(HEAD_END)
      if ((end === -1 ? rest.length : end) > MAX_HEAD_BYTES)
        throw badAnswer('The head of the answer is too large')
      if (end === -1) {
        this.#headBytes = Buffer.from(rest)
        return undefined
      }
      const head = readResponseHead(rest.toString('latin1', 0, end), this.#keepAliveMs)
      rest = rest.subarray(end + HEAD_END.length)
      if (head.status >= 200) {
        this.#begin(head)
        return rest
      }
      // 101 was not asked for; of the others a provider has no reason to send many (RFC 9110 section 15.2).
      this.#interimHeads += 1
      if (head.status === 101 || this.#interimHeads > MAX_INTERIM_HEADS)
        throw badAnswer('Unexpected interim answers')
    }
  }

  #begin(head: ResponseHead): void {
    this.#head = head
    this.#body = createBodyReader(head.framing)
    this.#state = 'wanted'
    if (this.#request.idleTimeoutMs !== undefined) this.#deadline.again()
    if (this.#listener.answered(head.status, head.headers) || this.#state !== 'wanted') return
    this.#state = 'discarded'
    this.#deadline.start(DISCARD_TIMEOUT_MS)
  }

  #readBody(body: BodyReader, bytes: Buffer): number | undefined {
    if (this.isOver()) return undefined
    if (bytes.length > 0) this.#alive()
    const payload = bytes.length > 0 ? body.read(bytes) : bytes
    if (payload.length > 0) this.#pass(payload)
    if (this.#state === 'over' || !body.isComplete()) return undefined
    const canKeep = this.#sending?.isDone() && !body.hasSurplus()
    const keepMs = canKeep ? (this.#head?.keepMs ?? 0) : 0
    this.#end()
    return keepMs
  }

  #alive(): void {
    const { idleTimeoutMs } = this.#request
    if (idleTimeoutMs === undefined || this.#state !== 'wanted') return
    this.#deadline.start(idleTimeoutMs)
    this.#isFlowing = true
  }

  #pass(payload: Buffer): void {
    // A copy of its own: the next read, of whatever connection, overwrites the bytes.
    if (this.#state === 'wanted') return this.#listener.data(Buffer.from(payload))
    this.#discardedBytes += payload.length
    if (this.#discardedBytes > MAX_DISCARDED_BYTES) this.abandon()
  }

  #end(): void {
    const isReported = this.#state === 'wanted'
    this.#stop()
    if (isReported) this.#listener.ended()
  }

  #stop(): void {
    this.#state = 'over'
    this.#deadline.stop()
    if (this.#sending) this.#sending.stop()
    else if (this.#request.body.body instanceof Readable) this.#request.body.body.destroy()
  }

  #runOut(): void {
    const code = this.#isFlowing ? 'IDLE_TIMEOUT' : 'FIRST_BYTE_TIMEOUT'
    const isWhole = this.#request.idleTimeoutMs === undefined
    this.fail(new UpstreamError(isWhole ? 'ANSWER_TIMEOUT' : code, 'The provider did not answer in time'))
  }
}

function badAnswer(text: string) {
  return new UpstreamError('BAD_ANSWER', text)
}

/** The request line and the fields (names and values in turn); the line of the body's length is still to come. */
function requestHead(path: string, authority: string, headers: readonly string[]): string | Error {
  let head = `POST ${path} HTTP/1.1\r\nhost: ${authority}\r\n`
  for (let index = 0; index < headers.length; index += 2) {
    const value = headers[index + 1] ?? ''
    // They are the client's own, and no provider's failure.
    if (UNSAFE.test(value)) return invalidRequest(`The header "${headers[index]}" holds a control character`)
    head += `${headers[index]}: ${value}\r\n`
  }
  return head
}

/** Sends a head, whose last line is still open, and its body. */
function sendRequest(
  socket: Socket,
  head: string,
  { body, length }: RequestBody,
  listener: SendListener,
): Sending {
  if (body instanceof Readable) return new StreamSender(socket, head, { body, length, listener })
  const size = Buffer.isBuffer(body) ? body.length : (length ?? 0)
  const whole = `${head}content-length: ${size}\r\n\r\n`
  const pieces = Buffer.isBuffer(body) ? [body] : body
  if (size > ONE_PIECE_BYTES) return new PieceSender(socket, whole, pieces, listener)
  const bytes = Buffer.allocUnsafe(whole.length + size)
  let at = bytes.write(whole, 0, 'latin1')
  for (const piece of pieces) at += piece.copy(bytes, at)
  socket.write(bytes)
  return DONE
}
