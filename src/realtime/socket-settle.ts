import { notFound } from '../errors.ts'
import type { Accounts, Hold, Settlement } from '../stores/contracts/accounts.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { untilStored } from './store-patience.ts'

/**
 * Charges a row against its hold, as soon as the store has room for it. Without a hold (nobody could ask before) as much
 * is charged as the balance covers.
 */
export const settlePlace = async (
  store: Accounts,
  before: Hold | undefined,
  row: UsageRow,
): Promise<Settlement> => {
  const { tokenId, requestId } = row
  // A hold of nothing is granted beside any others, and its settlement takes what is left.
  const nothing = { tokenId, requestId, micros: 0, leastMicros: 0 }
  const hold = before ?? (await untilStored(() => store.hold(nothing)))
  if (!hold) throw notFound('There is no such token any more.')
  return untilStored(() => store.settle(hold.id, row))
}
