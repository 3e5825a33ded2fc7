import type { Token } from './token-store.ts'

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
