import type { Bill } from '../billing/bill.ts'
import type { Price } from '../config/catalog/catalog.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import type { Ask } from '../request/ask.ts'
import type { AnswerHeaders } from '../upstream/response.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { Downstream } from './downstream.ts'
import type { Shared } from './shared.ts'

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

/** Whose answer it is. */
export interface AnswerOwner {
  attempt(): Attempt | undefined
  /** To be called when nothing more will happen. */
  over(): void
}

/** What an answer works with. */
export interface AnswerContext extends AnswerHead {
  exchange: AnswerOwner
  endpoint: Endpoint
  ask: Ask
  downstream: Downstream
  price: Price
  heldMicros: number
  /** Who pays. */
  key: string
  shared: Shared
  bill: Bill
}
