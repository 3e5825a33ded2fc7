import type { IncomingHttpHeaders } from 'node:http'
import type { Price } from '../config/models.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { Ask } from './ask.ts'
import type { Bill } from './bill.ts'
import type { ExchangeTools } from './deal.ts'
import type { Downstream } from './downstream.ts'

/** One provider's answer on its way to the client. */
export interface Answer {
  data(chunk: Buffer): void
  ended(): void
  /** The provider went away in the middle, or the gateway gives up. */
  died(error: Error): void
  /** The client went away. */
  left(): void
}

/** What a provider says before its answer's body. */
export interface AnswerHead {
  status: number
  headers: IncomingHttpHeaders
}

/** What an answer works with. */
export interface AnswerContext extends AnswerHead {
  endpoint: Endpoint
  ask: Ask
  downstream: Downstream
  attempt: () => Attempt | undefined
  price: Price
  heldMicros: number
  tools: ExchangeTools
  bill: Bill
  /** Called when nothing more will happen. */
  over(): void
}
