import type { Deadline } from '../deadlines.ts'
import type { AnswerHead, AnswerOwner } from './answer.ts'
import type { Pressure } from './downstream.ts'
import type { PaidCall } from './paid-call.ts'
import { endsEvent } from './usage-filter.ts'

/** The last of a stream's stages: its head and its events as they leave, and the event that tells why it breaks off. */
export class StreamWriter {
  readonly #owner: AnswerOwner
  readonly #head: AnswerHead
  readonly #pressure: Pressure
  /** The last bytes end an event, so that another one may follow. */
  #isAtBoundary = true
  #endsLine = true

  constructor(owner: AnswerOwner, head: AnswerHead, pressure: Pressure) {
    this.#owner = owner
    this.#head = head
    this.#pressure = pressure
  }

  /** The head of a stream that says nothing yet; false: it has left before. */
  tellHead(): boolean {
    const { downstream } = this.#owner.call
    if (downstream.hasBegun()) return false
    this.#begin({})
    downstream.response.flushHeaders()
    return true
  }

  /** A sign of life, where one may stand. */
  beat(): void {
    if (this.#isAtBoundary) beat(this.#owner.call)
  }

  write(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#begin({})
    this.#isAtBoundary = endsEvent(bytes) || (this.#endsLine && isLineEnd(bytes))
    this.#endsLine = bytes[bytes.length - 1] === LF
    if (!this.#owner.call.downstream.write(bytes)) this.#pressure.hold()
  }

  fail(error: Error): void {
    const { downstream } = this.#owner.call
    this.#begin({})
    if (!this.#isAtBoundary) downstream.write(EVENT_END)
    downstream.fail(error, {})
    this.drop()
  }

  /** An answer of which nothing has left yet goes as one piece, with its price. */
  end(last: Buffer, credits: Record<string, string>): void {
    this.#begin({ ...credits, 'content-length': String(last.length) })
    this.#owner.call.downstream.end(last)
  }

  /** Nobody waits for the client any more. */
  drop(): void {
    this.#pressure.end()
  }

  #begin(extra: Record<string, string>): void {
    const { downstream } = this.#owner.call
    if (downstream.hasBegun()) return
    const own = this.#owner.bill.headers()
    own['cache-control'] = 'no-cache'
    own['x-accel-buffering'] = 'no'
    downstream.begin(this.#head.status, this.#head.headers, Object.assign(own, extra))
  }
}

/** To a client of a stream that knows its head, if it reads. */
export function beat({ downstream, endpoint }: PaidCall): void {
  if (!downstream.response.writableNeedDrain) downstream.write(Buffer.from(endpoint.dialect.heartbeat))
}

/** A stream's silence begins anew. */
export function listen(patience: Deadline, heartbeatMs: number): void {
  if (heartbeatMs > 0) patience.start(heartbeatMs)
  else patience.stop()
}

/** Some write the empty line that ends an event by itself. */
function isLineEnd(bytes: Buffer): boolean {
  return bytes[bytes.length - 1] === LF && (bytes.length === 1 || (bytes.length === 2 && bytes[0] === CR))
}

const LF = 0x0a
const CR = 0x0d
const EVENT_END = Buffer.from('\n\n')
