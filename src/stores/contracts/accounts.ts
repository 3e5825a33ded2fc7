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

/**
 * Who pays: each of them the same, in one step, or none of them. The first is the token's own, which has the token's id:
 * the usage row stands on it.
 */
export type AccountList = readonly [string, ...string[]]

/** Credits given to accounts, or taken from them. */
export interface Adjustment {
  /** The same id within 24 h is one change, however often it is asked for; 1 to 128 printable characters. */
  operationId: string
  accounts: AccountList
  /** Whole micro-credits to add to what is credited; below zero: to take from the balance. */
  micros: number
  at: number
}

export interface HoldRequest {
  accounts: AccountList
  requestId: string
  /** The worst case. */
  micros: number
  /**
   * What is enough to begin with: it is taken when a balance does not cover `micros` and has no other hold on it.
   */
  leastMicros: number
}

/** Credits set aside for one request until it is settled. */
export interface Hold {
  id: number
  accounts: AccountList
  micros: number
  /** What is left besides this hold: the least of the accounts' balances. */
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
   * Tops balances up or takes from them in one step: durable when it resolves; the first's token, or undefined, and
   * nothing is changed, when one of the accounts is nobody's.
   * Throws `balance_too_small` (409, nothing is changed) when a free balance does not cover what is taken, and
   * `idempotency_mismatch` (422) when the operation id stands for another change; `RangeError` for an amount of 0, a
   * fraction, or one that would make more credits than can be counted.
   */
  adjust(adjustment: Adjustment): Promise<Token | undefined>
  credits(accountId: string): Promise<Credits>
  /** Sets credits aside in one step, however many ask at once; undefined when a balance does not cover it. */
  hold(ask: HoldRequest): Promise<Hold | undefined>
  /**
   * Raises a standing hold to `micros` in all, in one step however many ask at once: the raised hold; undefined, and
   * nothing is changed, when a balance has not that much free. `leastMicros` (in all, too) is what is enough where one
   * has less than `micros`: then all that is left of it is taken, whatever else is held. A hold of that size already
   * stays as it is, so that asking twice is one raise. To `settle` and to a crash a raised hold is a hold as any other:
   * what is not charged goes back. Throws `store_unavailable` when the store is away (the raise may stand all the same,
   * and goes back with the hold), and when the hold is over: settled, given up for dead, or never made.
   */
  raise(holdId: number, micros: number, leastMicros?: number): Promise<Hold | undefined>
  /** An answer has begun: should the process die before `settle`, this much is charged. The first mark stands. */
  markAnswered(holdId: number, leastMicros: number, row: UsageRow): void
  /**
   * Ends a hold with what was really used, as far as the hold and every balance cover it, and writes the usage row. The
   * same hold twice is one charge.
   */
  settle(holdId: number, row: UsageRow): Promise<Settlement>
}

/** Nothing more can be set aside for a hold that does not stand any more. */
export function holdOver(): GatewayError {
  return storeUnavailable('What was set aside for this request is given up: ask again')
}

const BETWEEN = ','

/** A list as one text, which is the id itself where there is one account. */
export function writeAccounts(accounts: AccountList): string {
  return accounts.length === 1 ? accounts[0] : accounts.join(BETWEEN)
}

export function readAccounts(text: string): AccountList {
  const [own = '', ...further] = text.split(BETWEEN)
  return [own, ...further]
}

/** Refuses a list with an account twice, or with one that `writeAccounts` could not tell from two. */
export function checkAccounts(accounts: AccountList): void {
  if (accounts.length === 1) return
  const isPlain = accounts.every((id) => id !== '' && !id.includes(BETWEEN) && !/\s/.test(id))
  if (!isPlain || new Set(accounts).size < accounts.length)
    throw new RangeError('a list of accounts names each of them once')
}

/** Refuses what is no whole number of micro-credits: beyond 2^53 numbers are no longer exact. */
export function checkMicros(name: string, micros: number): void {
  if (Number.isSafeInteger(micros) && micros >= 0) return
  throw new RangeError(`${name} must be a whole number of micro-credits, not ${micros}`)
}
