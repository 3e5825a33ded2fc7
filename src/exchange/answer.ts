import type { Bill } from '../billing/bill.ts'
import type { AnswerHeaders } from '../upstream/response.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { PaidCall, Shared } from './paid-call.ts'

/** One provider's answer on its way to the client. */
export interface Answer {
  data(chunk: Buffer): void
  ended(): void
  /** The provider went away in the middle, or the gateway gives up. */
  died(error: Error): void
  /** The client went away. */
  left(): void
  /** Nothing of it has left, and nothing may: another provider is asked, or the request is refused. */
  drop(): void
}

/** What a provider says before its answer's body. */
export interface AnswerHead {
  status: number
  headers: AnswerHeaders
}

/** Whose answer it is: the exchange, as far as an answer needs it. */
export interface AnswerOwner {
  readonly call: PaidCall
  readonly shared: Shared
  readonly bill: Bill
  attempt(): Attempt | undefined
  /** To be called when nothing more will happen. */
  over(): void
}

/** Back-pressure from a slow reader to its provider. */
export class Pressure {
  readonly #owner: AnswerOwner
  #stall: NodeJS.Timeout | undefined

  constructor(owner: AnswerOwner) {
    this.#owner = owner
  }

  /** The client's buffer is full: the provider waits until it has drained; a reader that stalls for good is cut. */
  hold(): void {
    if (this.#stall) return
    const { downstream } = this.#owner.call
    const { idleTimeoutMs } = this.#owner.shared.timeouts
    this.#owner.attempt()?.pause()
    this.#stall = setTimeout(() => downstream.response.destroy(), idleTimeoutMs)
    downstream.response.once('drain', () => {
      this.end()
      this.#owner.attempt()?.resume()
    })
  }

  end(): void {
    clearTimeout(this.#stall)
    this.#stall = undefined
  }
}
