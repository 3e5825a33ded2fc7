import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Deadlines } from '../deadlines.ts'
import { type BodyReader, Call, DONE, framingLine, startSending } from './call.ts'
import { addFields, readWholeHead, startLine, type WholeHead } from './heads.ts'
import { type RequestBody, type Sending, StreamSender } from './request-body.ts'
import { checkNames, checkStart, expectsContinue } from './request-head.ts'
import { KEEP_ALIVE_MS, UpstreamError } from './rules.ts'

/** Any request of HTTP/1.1 as it leaves for a service, but for CONNECT and upgrades. */
export interface ServiceRequest {
  method: string
  /** Path and query as they are sent, each character a byte. */
  path: string
  /** Names and values in turn. `host` and the lines that say how long the body is are added, and may not be among them. */
  headers: readonly string[]
  /** Undefined: none. A stream that is no longer wanted is paused and let go of: its owner drains or destroys it. */
  body: RequestBody | undefined
  /** Asked when a body in chunks has ended: names and values in turn; what no trailer may say is left out. */
  trailers?: (() => readonly string[]) | undefined
  connectTimeoutMs?: number | undefined
  /**
   * The longest silence before the answer's head while it is the service's turn. While the body's stream has nothing to send
   * no time runs: whoever owns that stream watches its pace.
   */
  firstByteMs: number
  /** The longest silence inside the answer while it is the service's turn: not while the reader is slow. */
  idleMs: number
  /** No kept connection is used: for the second try after one that its service had closed. */
  isFresh?: boolean | undefined
}

/** What of a request had happened when it failed. */
export interface Sent {
  /** A byte of the request had been handed to a connection: the service may have done what was asked. */
  wasSent: boolean
  /** The connection had carried a request before: the service may have closed it in the very moment. */
  wasKept: boolean
  /** It was the body to send that failed, and not the service. */
  isBodys: boolean
}

/**
 * What becomes of a request: `informed` for each interim answer but 100 and 101, `answered` at most once, then exactly one of
 * `ended` and `failed`, unless it is aborted. Headers are names and values in turn, in the case and order they came in.
 */
export interface ServiceListener {
  informed?(status: number, headers: string[]): void
  answered(status: number, headers: string[], reason: string): void
  data(bytes: Buffer): void
  /** The trailers of an answer in chunks, without those that no trailer may say. */
  ended(trailers: string[]): void
  failed(error: Error, sent: Sent): void
}

const RULES = { maxHeadBytes: 64 * 1024, maxInterimHeads: 100, wantsTrailers: true }
/** A service that was asked whether it wants the body, and says nothing, gets it (RFC 9110 section 10.1.1). */
const CONTINUE_MS = 1_000
/** Methods that say something by a body, and say by a length that there is none (RFC 9110 section 8.6). */
const WITH_BODY = new Set(['POST', 'PUT', 'PATCH'])

/** Any request of a service and its answer, every byte of both. */
export class ServiceCall extends Call<WholeHead> {
  override readonly connectTimeoutMs: number | undefined
  override readonly isFresh: boolean
  readonly #request: ServiceRequest
  readonly #listener: ServiceListener
  /** A body that leaves when the service has asked for it. */
  #held: StreamSender | undefined
  #isPaused = false
  #wasSent = false
  #isBodys = false

  constructor(request: ServiceRequest, listener: ServiceListener, deadlines: Deadlines) {
    super(deadlines, RULES)
    this.connectTimeoutMs = request.connectTimeoutMs
    this.isFresh = request.isFresh ?? false
    this.#request = request
    this.#listener = listener
  }

  progress(): void {
    this.#watch()
  }

  override bodyFailed(error: Error): void {
    this.#isBodys = true
    super.bodyFailed(error)
  }

  override pause(): void {
    this.#isPaused = true
    super.pause()
  }

  protected start(socket: Socket, authority: string): Sending | Error {
    const { method, path, headers } = this.#request
    const mistake = checkStart(method, path) ?? checkNames(headers)
    const head = mistake ?? addFields(startLine(method, path, authority), headers)
    if (head instanceof Error) return head
    this.#wasSent = true
    return this.#startBody(socket, head)
  }

  #startBody(socket: Socket, head: string): Sending {
    const { method, headers, body, trailers } = this.#request
    if (!body) {
      socket.write(`${head}${WITH_BODY.has(method) ? 'content-length: 0\r\n\r\n' : '\r\n'}`, 'latin1')
      return DONE
    }
    const whole = `${head}${framingLine(body)}\r\n`
    if (!(body.body instanceof Readable)) return startSending(socket, whole, body, this)
    const isHeld = expectsContinue(headers)
    const source = { body: body.body, length: body.length, listener: this, trailers, isHeld }
    const sender = new StreamSender(socket, whole, source)
    if (isHeld) this.#held = sender
    return sender
  }

  protected left(): void {
    if (this.#held) this.deadline.start(Math.min(CONTINUE_MS, this.#request.firstByteMs))
    else this.#watch()
  }

  protected readHead(text: string): WholeHead {
    return readWholeHead(text, KEEP_ALIVE_MS, this.#request.method)
  }

  protected informed({ status, headers }: WholeHead): void {
    if (status === 100) return this.#release()
    this.#watch()
    this.#listener.informed?.(status, headers)
  }

  protected answered({ status, headers, reason }: WholeHead): void {
    // A body that was not asked for by now never leaves.
    this.#held = undefined
    this.#watch()
    this.#listener.answered(status, headers, reason)
  }

  protected alive(): void {
    this.#watch()
  }

  protected passed(payload: Buffer): void {
    // A copy of its own: the next read, of whatever connection, overwrites the bytes.
    this.#listener.data(Buffer.from(payload))
  }

  protected resumed(): void {
    this.#isPaused = false
    this.#watch()
  }

  protected ranOut(): void {
    if (this.#held) return this.#release()
    const code = this.hasAnswer ? 'IDLE_TIMEOUT' : 'FIRST_BYTE_TIMEOUT'
    this.fail(new UpstreamError(code, 'The service did not answer in time'))
  }

  protected stopped(): void {
    // The body's stream is its owner's.
  }

  protected ended(body: BodyReader | undefined): void {
    this.#listener.ended(body?.trailers() ?? [])
  }

  protected failed(error: Error): void {
    const { wasKept } = this
    this.#listener.failed(error, { wasSent: this.#wasSent, wasKept, isBodys: this.#isBodys })
  }

  #release(): void {
    const held = this.#held
    this.#held = undefined
    held?.release()
    this.#watch()
  }

  /** Time runs while it is the service's turn: neither while the reader is slow nor while the body's stream is. */
  #watch(): void {
    if (this.isOver() || this.#held) return
    if (this.#isPaused || this.awaitsBody) return this.deadline.stop()
    this.deadline.start(this.hasAnswer ? this.#request.idleMs : this.#request.firstByteMs)
  }
}
