import type { Bill } from '../billing/bill.ts'
import type { GatewayError } from '../errors.ts'
import type { AnswerHeaders } from '../upstream/response.ts'
import type { Pressure } from './downstream.ts'
import type { PaidCall, Shared } from './paid-call.ts'

/** One provider's answer on its way to the client. What its ends return resolves when nothing more will happen. */
export interface Answer {
  data(chunk: Buffer): void
  ended(): Promise<void>
  /** The provider went away in the middle, or the gateway gives up; `status` is for the record. */
  died(error: Error, status: number): Promise<void>
  /** The client went away. */
  left(): Promise<void>
  /** Nothing of it has left, and nothing may: another provider is asked, or the request is refused. */
  drop(): void
}

/** One thing that is done with a stream's bytes on their way to the client. */
export interface Stage {
  /** What of these bytes goes on to the next stage. Throws on an event that is too large. */
  pass(bytes: Buffer): Buffer
  /** The same for the last bytes, with whatever was held back for more. */
  last(bytes: Buffer): Buffer
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
  openPressure(): Pressure
  /** The answer may not go on: it is told to end with this error. */
  cutOff(why: GatewayError): void
}
