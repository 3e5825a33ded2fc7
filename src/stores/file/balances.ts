import type { AccountList, Credits } from '../contracts/accounts.ts'

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
