import type { Credits } from '../contracts/accounts.ts'

interface Account {
  creditedMicros: number
  chargedMicros: number
  heldMicros: number
  openHolds: number
}

/** The balances in memory: every decision is made here, in one step, before anything is written. */
export interface Balances {
  open(tokenId: string, creditedMicros: number, chargedMicros: number): void
  credits(tokenId: string): Credits | undefined
  /** Adds to what is credited, or takes from it: the caller has made sure that the balance covers it. */
  credit(tokenId: string, micros: number): void
  /** What is set aside: `micros`, or the whole balance for a token's only hold, or nothing (undefined). */
  hold(tokenId: string, micros: number, leastMicros: number): number | undefined
  /** Sets more aside for a standing hold: `micros`, or the whole balance when it has `leastMicros`; else undefined. */
  raise(tokenId: string, micros: number, leastMicros: number): number | undefined
  /** Ends a hold without a charge. */
  release(tokenId: string, heldMicros: number): void
  /** Ends a hold and charges as much of `costMicros` as it and the balance cover: what was charged. */
  charge(tokenId: string, heldMicros: number, costMicros: number): number
  balanceMicros(tokenId: string): number
}

function balanceOf({ creditedMicros, chargedMicros, heldMicros }: Account): number {
  return creditedMicros - chargedMicros - heldMicros
}

/** Accounts without a token yet. */
export function buildBalances(): Balances {
  const accounts = new Map<string, Account>()
  const release = (tokenId: string, heldMicros: number) => {
    const account = accounts.get(tokenId)
    if (account === undefined) return
    account.heldMicros -= heldMicros
    account.openHolds -= 1
  }
  const balanceMicros = (tokenId: string) => {
    const account = accounts.get(tokenId)
    return account === undefined ? 0 : balanceOf(account)
  }
  return {
    open: (tokenId, creditedMicros, chargedMicros) =>
      accounts.set(tokenId, { creditedMicros, chargedMicros, heldMicros: 0, openHolds: 0 }),
    credits: (tokenId) => {
      const account = accounts.get(tokenId)
      if (account === undefined) return undefined
      const { creditedMicros, heldMicros, chargedMicros } = account
      return { creditedMicros, balanceMicros: balanceOf(account), heldMicros, chargedMicros }
    },
    hold: (tokenId, micros, leastMicros) => {
      const account = accounts.get(tokenId)
      if (account === undefined) return undefined
      const granted = grantOf(account, micros, leastMicros)
      if (granted === undefined) return undefined
      account.heldMicros += granted
      account.openHolds += 1
      return granted
    },
    raise: (tokenId, micros, leastMicros) => {
      const account = accounts.get(tokenId)
      if (account === undefined) return undefined
      const granted = Math.min(micros, balanceOf(account))
      if (granted < leastMicros) return undefined
      account.heldMicros += granted
      return granted
    },
    credit: (tokenId, micros) => {
      const account = accounts.get(tokenId)
      if (account !== undefined) account.creditedMicros += micros
    },
    release,
    charge: (tokenId, heldMicros, costMicros) => {
      const chargedMicros = Math.min(costMicros, heldMicros + balanceMicros(tokenId))
      release(tokenId, heldMicros)
      const account = accounts.get(tokenId)
      if (account !== undefined) account.chargedMicros += chargedMicros
      return chargedMicros
    },
    balanceMicros,
  }
}

function grantOf(account: Account, micros: number, leastMicros: number): number | undefined {
  const balance = balanceOf(account)
  if (balance >= micros) return micros
  const mayTakeTheRest = account.openHolds === 0 && balance >= Math.max(1, leastMicros)
  return mayTakeTheRest ? balance : undefined
}
