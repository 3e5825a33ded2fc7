import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Deadlines } from '../deadlines.ts'
import { Call, framingLine, startSending } from './call.ts'
import { type AnswerHeaders, addFields, type ResponseHead, readResponseHead, startLine } from './heads.ts'
import type { RequestBody, Sending } from './request-body.ts'
import { KEEP_ALIVE_MS, MAX_HEAD_BYTES, UpstreamError } from './rules.ts'

/** What becomes of one ask of a provider: `answered` at most once, then exactly one of `ended` and `failed`. */
export interface ProviderListener {
  /** The head of an answer is here. False: it is not wanted; the rest is thrown away, nothing more is reported. */
  answered(status: number, headers: AnswerHeaders): boolean
  data(bytes: Buffer): void
  ended(): void
  failed(error: Error): void
}

export interface ProviderRequest {
  path: string
  /** Names and values in turn; `host` and the body's length are added. */
  headers: readonly string[]
  /** A stream is destroyed when it is no longer wanted. */
  body: RequestBody
  /** Until a stream's head, and again until its first byte; or until a whole answer's end. Each piece of the body that leaves begins it anew. */
  answerTimeoutMs: number
  /** The longest silence inside a stream, comments count as life; undefined: a whole answer is asked for. */
  idleTimeoutMs: number | undefined
}

const RULES = { maxHeadBytes: MAX_HEAD_BYTES, maxInterimHeads: 10, wantsTrailers: false }
/** A refused answer up to this size is read to its end, so that the connection can be used again. */
const MAX_DISCARDED_BYTES = 64 * 1024
const DISCARD_TIMEOUT_MS = 2_000

/** One POST to a provider. Of its answer only those fields are read that somebody looks at. */
export class ProviderCall extends Call<ResponseHead> {
  readonly #request: ProviderRequest
  readonly #listener: ProviderListener
  /** A stream's first byte is here. */
  #isFlowing = false
  #isDiscarded = false
  #discardedBytes = 0

  constructor(request: ProviderRequest, listener: ProviderListener, deadlines: Deadlines) {
    super(deadlines, RULES)
    this.#request = request
    this.#listener = listener
  }

  protected left(): void {
    this.deadline.start(this.#request.answerTimeoutMs)
  }

  progress(): void {
    if (!this.hasAnswer && !this.isOver()) this.deadline.again()
  }

  protected start(socket: Socket, authority: string): Sending | Error {
    const { path, headers, body } = this.#request
    const head = addFields(startLine('POST', path, authority), headers)
    if (head instanceof Error) return head
    return startSending(socket, `${head}${framingLine(body)}\r\n`, body, this)
  }

  protected readHead(text: string): ResponseHead {
    return readResponseHead(text, KEEP_ALIVE_MS)
  }

  protected informed(): void {
    // A provider's interim answers say nothing that anybody waits for.
  }

  protected answered({ status, headers }: ResponseHead): void {
    if (this.#request.idleTimeoutMs !== undefined) this.deadline.again()
    if (this.#listener.answered(status, headers) || this.isOver()) return
    this.#isDiscarded = true
    this.deadline.start(DISCARD_TIMEOUT_MS)
  }

  protected alive(): void {
    const { idleTimeoutMs } = this.#request
    if (idleTimeoutMs === undefined || this.#isDiscarded) return
    this.deadline.start(idleTimeoutMs)
    this.#isFlowing = true
  }

  protected passed(payload: Buffer): void {
    // A copy of its own: the next read, of whatever connection, overwrites the bytes.
    if (!this.#isDiscarded) return this.#listener.data(Buffer.from(payload))
    this.#discardedBytes += payload.length
    if (this.#discardedBytes > MAX_DISCARDED_BYTES) this.abandon()
  }

  protected resumed(): void {
    const { answerTimeoutMs, idleTimeoutMs = answerTimeoutMs } = this.#request
    this.deadline.start(idleTimeoutMs)
  }

  protected ranOut(): void {
    const code = this.#isFlowing ? 'IDLE_TIMEOUT' : 'FIRST_BYTE_TIMEOUT'
    const isWhole = this.#request.idleTimeoutMs === undefined
    this.fail(new UpstreamError(isWhole ? 'ANSWER_TIMEOUT' : code, 'The provider did not answer in time'))
  }

  protected stopped(): void {
    const { body } = this.#request.body
    if (body instanceof Readable) body.destroy()
  }

  protected ended(): void {
    if (!this.#isDiscarded) this.#listener.ended()
  }

  protected failed(error: Error): void {
    if (!this.#isDiscarded) this.#listener.failed(error)
  }
}
