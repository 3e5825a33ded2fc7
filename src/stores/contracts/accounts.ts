import { type GatewayError, storeUnavailable } from '../../errors.ts'
import type { Token } from './tokens.ts'
import type { UsageRow } from './usage-columns.ts'

/** `credited = balance + held + charged`, always. Whole micro-credits. */
export interface Credits {
  creditedMicros: number
  balanceMicros: number
  heldMicros: number
  chargedMicros: number
}

/** Credits given to a token, or taken from it. */
export interface Adjustment {
  /** The same id within 24 h is one change, however often it is asked for; 1 to 128 printable characters. */
  operationId: string
  tokenId: string
  /** Whole micro-credits to add to what is credited; below zero: to take from the balance. */
  micros: number
  at: number
}

export interface HoldRequest {
  tokenId: string
  requestId: string
  /** The worst case. */
  micros: number
  /**
   * What is enough to begin with: it is taken when the balance does not cover `micros` and the token has no other hold.
   */
  leastMicros: number
}

/** Credits set aside for one request until it is settled. */
export interface Hold {
  id: number
  tokenId: string
  micros: number
  /** What is left to the token besides this hold. */
  balanceMicros: number
}

export interface Settlement {
  chargedMicros: number
  balanceMicros: number
}

/** How long `adjust` remembers an operation id, at least. */
export const OPERATION_MEMORY_MS = 86_400_000

/** What tokens have and what they are charged. What must be atomic is one method. */
export interface Accounts {
  /**
   * Tops a balance up or takes from it in one step: durable when it resolves, undefined when there is no such token.
   * Throws `balance_too_small` (409, nothing is changed) when the free balance does not cover what is taken, and
   * `idempotency_mismatch` (422) when the operation id stands for another change; `RangeError` for an amount of 0, a
   * fraction, or one that would make more credits than can be counted.
   */
  adjust(adjustment: Adjustment): Promise<Token | undefined>
  credits(tokenId: string): Promise<Credits>
  /** Sets credits aside in one step, however many ask at once; undefined when the balance does not cover it. */
  hold(ask: HoldRequest): Promise<Hold | undefined>
  /**
   * Raises a standing hold to `micros` in all, in one step however many ask at once: the raised hold; undefined, and
   * nothing is changed, when the balance has not that much free. `leastMicros` (in all, too) is what is enough where it
   * has less than `micros`: then all that is left is taken, whatever else the token holds. A hold of that size already
   * stays as it is, so that asking twice is one raise. To `settle` and to a crash a raised hold is a hold as any other:
   * what is not charged goes back. Throws `store_unavailable` when the store is away (the raise may stand all the same,
   * and goes back with the hold), and when the hold is over: settled, given up for dead, or never made.
   */
  raise(holdId: number, micros: number, leastMicros?: number): Promise<Hold | undefined>
  /** An answer has begun: should the process die before `settle`, this much is charged. The first mark stands. */
  markAnswered(holdId: number, leastMicros: number, row: UsageRow): void
  /** Ends a hold with what was really used, and writes the usage row. The same hold twice is one charge. */
  settle(holdId: number, row: UsageRow): Promise<Settlement>
}

/** Nothing more can be set aside for a hold that does not stand any more. */
export function holdOver(): GatewayError {
  return storeUnavailable('What was set aside for this request is given up: ask again')
}

/** Refuses what is no whole number of micro-credits: beyond 2^53 numbers are no longer exact. */
export function checkMicros(name: string, micros: number): void {
  if (Number.isSafeInteger(micros) && micros >= 0) return
  throw new RangeError(`${name} must be a whole number of micro-credits, not ${micros}`)
}
