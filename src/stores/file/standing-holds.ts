import type { AccountList } from '../contracts/accounts.ts'
import type { Mark } from '../contracts/guests.ts'

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
  return [...open].flatMap(([id, { guest }]) =>
    guest === undefined || (asked !== undefined && guest !== asked) ? [] : [[id, guest]],
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
