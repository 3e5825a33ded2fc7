import type { Bill } from '../billing/bill.ts'
import type { AnswerHeaders } from '../upstream/response.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { Pressure } from './downstream.ts'
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
  openPressure(): Pressure
  /** To be called when nothing more will happen. */
  over(): void
}
