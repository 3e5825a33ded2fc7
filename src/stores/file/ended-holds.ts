import type { AccountList } from '../contracts/accounts.ts'

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
