import type { Credits } from './accounts.ts'
import type { Token } from './tokens.ts'

/** One token's sums, as one snapshot of the store has them. */
export interface Book extends Credits {
  tokenId: string
  user: string
  name: string
  /** The sum of the usage rows' charges: the same as `chargedMicros`, or something was lost. */
  rowsMicros: number
}

/** The sums of a store, read beside a running server or without one; nothing is changed by reading them. */
export interface Books {
  books: readonly Book[]
  /** What is wrong beyond a sum: one sentence each. */
  faults: readonly string[]
}

/** A token with all that belongs to it while nothing is held. */
export interface DumpedAccount {
  token: Token
  creditedMicros: number
  chargedMicros: number
}

/** A whole store at rest, on its way into another one. */
export interface Dump {
  masterId: string | undefined
  accounts: readonly DumpedAccount[]
}
