import type { AccountList, Credits } from '../contracts/accounts.ts'
import type { Mark } from '../contracts/guests.ts'

interface Account {
  creditedMicros: number
  chargedMicros: number
  heldMicros: number
  openHolds: number
}

function balanceOf({ creditedMicros, chargedMicros, heldMicros }: Account): number {
  return creditedMicros - chargedMicros - heldMicros
}

/** The balances in memory: every decision is made here, in one step, before anything is written. */
export class Balances {
  readonly #accounts = new Map<string, Account>()

  open(accountId: string, creditedMicros: number, chargedMicros: number): void {
    this.#accounts.set(accountId, { creditedMicros, chargedMicros, heldMicros: 0, openHolds: 0 })
  }

  credits(accountId: string): Credits | undefined {
    const account = this.#accounts.get(accountId)
    if (account === undefined) return undefined
    const { creditedMicros, heldMicros, chargedMicros } = account
    return { creditedMicros, balanceMicros: balanceOf(account), heldMicros, chargedMicros }
  }

  /** Adds to what is credited, or takes from it: the caller has made sure that the balances cover it. */
  credit(accounts: AccountList, micros: number): void {
    for (const id of accounts) {
      const account = this.#accounts.get(id)
      if (account !== undefined) account.creditedMicros += micros
    }
  }

  /** The least that is free on any of them; 0 for one that nobody has. */
  leastMicros(accounts: AccountList): number {
    let least = this.#balanceMicros(accounts[0])
    for (let index = 1; index < accounts.length; index += 1)
      least = Math.min(least, this.#balanceMicros(accounts[index] ?? ''))
    return least
  }

  /** What is set aside on each: `micros`, or what the smallest has left when that is its only hold, or undefined. */
  hold(accounts: AccountList, micros: number, leastMicros: number): number | undefined {
    let granted = micros
    for (const id of accounts) {
      const account = this.#accounts.get(id)
      if (account === undefined) return undefined
      const balance = balanceOf(account)
      if (balance >= micros) continue
      if (account.openHolds > 0) return undefined
      granted = Math.min(granted, balance)
    }
    if (granted < micros && granted < Math.max(1, leastMicros)) return undefined
    this.#set(accounts, granted, 1)
    return granted
  }

  /** What was set aside before this process was, as far as each balance covers it. */
  restore(accounts: AccountList, micros: number): number {
    const held = Math.max(0, Math.min(micros, this.leastMicros(accounts)))
    this.#set(accounts, held, 1)
    return held
  }

  /** Sets more aside for a standing hold: `micros`, or all that is left when that is `leastMicros`; else undefined. */
  raise(accounts: AccountList, micros: number, leastMicros: number): number | undefined {
    const granted = Math.min(micros, this.leastMicros(accounts))
    if (granted < leastMicros) return undefined
    this.#set(accounts, granted, 0)
    return granted
  }

  /** Ends a hold and charges each as much of `costMicros` as the hold and every balance cover: what was charged. */
  charge(accounts: AccountList, heldMicros: number, costMicros: number): number {
    const chargedMicros = Math.min(costMicros, heldMicros + this.leastMicros(accounts))
    for (const id of accounts) {
      const account = this.#accounts.get(id)
      if (account === undefined) continue
      account.heldMicros -= heldMicros
      account.openHolds -= 1
      account.chargedMicros += chargedMicros
    }
    return chargedMicros
  }

  #balanceMicros(accountId: string): number {
    const account = this.#accounts.get(accountId)
    return account === undefined ? 0 : balanceOf(account)
  }

  #set(accounts: AccountList, heldMicros: number, holds: number): void {
    for (const id of accounts) {
      const account = this.#accounts.get(id)
      if (account === undefined) continue
      account.heldMicros += heldMicros
      account.openHolds += holds
    }
  }
}

/** A hold that stands. */
export interface OpenHold {
  accounts: AccountList
  micros: number
  /** By the clock of `performance.now`. */
  since: number
  /** Its answer has begun, and stands in the database or is about to: the first mark counts. */
  isMarked: boolean
  /** It stands in the database: a marked one, and each of a guest's. */
  isWritten: boolean
  /** Whose it is; undefined: this server's own. */
  guest?: string | undefined
  /** Of a guest's: what is charged should it not come back. */
  mark?: Mark | undefined
}

/** A hold from now on; what a guest has is written at once. */
export function openHold({
  accounts,
  micros,
  guest,
  mark,
}: Pick<OpenHold, 'accounts' | 'micros' | 'guest' | 'mark'>): OpenHold {
  const since = performance.now()
  return {
    accounts,
    micros,
    since,
    isMarked: mark !== undefined,
    isWritten: guest !== undefined,
    guest,
    mark,
  }
}

/** The holds of guests, or of the one guest. */
export function listGuestHolds(
  open: ReadonlyMap<number, OpenHold>,
  asked?: string,
): [id: number, guest: string][] {
  return Array.from(open, ([id, { guest }]): [number, string | undefined] => [id, guest]).flatMap(
    ([id, guest]) => (guest === undefined || (asked !== undefined && guest !== asked) ? [] : [[id, guest]]),
  )
}

/** How many ended holds are remembered, for whoever settles one twice. */
export const MOST_REMEMBERED = 10_000

export interface Ended {
  holdId: number
  accounts: AccountList
  chargedMicros: number
}

/** How the last holds ended. A ring: a Map that forgets its oldest key slows down with each key it has forgotten. */
export class EndedHolds {
  readonly #ring: (Ended | undefined)[] = []

  remember(ended: Ended): void {
    this.#ring[ended.holdId % MOST_REMEMBERED] = ended
  }

  find(holdId: number): Ended | undefined {
    const ended = this.#ring[holdId % MOST_REMEMBERED]
    return ended?.holdId === holdId ? ended : undefined
  }
}
