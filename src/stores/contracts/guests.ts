import type { Accounts } from './accounts.ts'
import type { IdempotencyStore, KeyedRequest } from './idempotency.ts'
import type { MinuteCount, Place, TokenCount } from './places.ts'
import type { StoreSizes } from './sizes.ts'
import type { Tokens } from './tokens.ts'
import type { ServiceRow, UsageRow } from './usage-columns.ts'

// A guest is a server that works on the files of another one: its successor in an update, until that one has ended.

/** What a crash would cost. */
export interface Mark {
  leastMicros: number
  row: UsageRow
}

/** What a guest knows to be its own; it says so to each server that has the folder after the one that gave it. */
export interface Belongings {
  holds: readonly { id: number; mark?: Mark | undefined }[]
  claims: readonly { id: string; request: KeyedRequest }[]
  places: readonly Place[]
}

/**
 * What a guest may ask. Each may be asked again of the next server when this one has died before it answered: what was
 * done is not done twice.
 */
export interface GuestCalls
  extends Tokens,
    Pick<Accounts, 'adjust' | 'credits' | 'hold' | 'raise' | 'settle'>,
    IdempotencyStore {
  /** Undefined: who asks is the server itself by now, and counts alone. */
  count(tokenId: string, window: 'minute' | 'day'): Promise<TokenCount | undefined>
  /** The minutes that run. */
  minutes(): Promise<readonly MinuteCount[]>
  /** First of all, when the guest comes: what it does not name is given up. */
  adopt(belongings: Belongings): Promise<void>
  /** `mint`, whose answer was perhaps lost. */
  mintAgain: Tokens['mint']
  mark(holdId: number, leastMicros: number, row: UsageRow): Promise<void>
  /** The answer to a hold came too late for anybody to use it. */
  abandon(holdId: number): Promise<void>
  /** Puts rows of services on record: all of them, or none and a throw. */
  noteRows(rows: readonly ServiceRow[]): Promise<void>
  /** The same, of which the answer was perhaps lost. */
  noteRowsAgain(rows: readonly ServiceRow[]): Promise<void>
  enter(tokenId: string, most: number): Promise<Place | undefined>
  leave(place: Place): Promise<void>
  isReady(): Promise<boolean>
  sizes(): Promise<StoreSizes>
}

/** The places of guests at a store. */
export interface Seats {
  sit(guest: string): GuestCalls
  /** Its connection is gone: unless it is back soon, what it held ends as after a crash. */
  leave(guest: string): void
}
