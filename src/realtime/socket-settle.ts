import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../deadlines.ts'
import { GatewayError, notFound, storeUnavailable } from '../errors.ts'
import type { Accounts, Hold, HoldRequest, Settlement } from '../stores/contracts/accounts.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'

/** How long a socket waits for a store that does not answer before its client is told to come again. */
const PATIENCE_MS = 5_000
const RETRY_AFTER_MS = 1_000

/** Steps one after the other; one that fails is told and does not keep the next from its turn. */
export class StepQueue {
  isWorking = false
  readonly #failed: (error: unknown) => void
  #last: Promise<void> = Promise.resolve()

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed
  }

  /** Resolves when the step, and so all before it, is over. */
  add(step: () => Promise<void>): Promise<void> {
    this.isWorking = true
    const last = this.#last.then(step).catch(this.#failed)
    this.#last = last
    void last.then(() => {
      if (this.#last === last) this.isWorking = false
    })
    return last
  }
}

/**
 * Charges a row against its hold, as soon as the store has room for it. Without a hold (nobody could ask before) as much
 * is charged as the balance covers.
 */
export async function settleReservation(
  store: Accounts,
  before: Hold | undefined,
  row: UsageRow,
): Promise<Settlement> {
  const { tokenId, requestId } = row
  // A hold of nothing is granted beside any others, and its settlement takes what is left.
  const nothing: HoldRequest = { accounts: [tokenId], requestId, micros: 0, leastMicros: 0 }
  const hold = before ?? (await untilStored(() => store.hold(nothing)))
  if (!hold) throw notFound('There is no such token any more.')
  return untilStored(() => store.settle(hold.id, row))
}

/** What `work` says, or after a while that the store is down; the work itself goes on. */
export function orTooLate(work: Promise<unknown>): Promise<unknown> {
  const why = storeUnavailable('The balance cannot be checked right now. Connect again in a moment.')
  return within(PATIENCE_MS, work, why)
}

/** Asks again until the store answers: for what was used already and must be paid. */
export async function untilStored<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof GatewayError && error.code === 'store_unavailable')) throw error
      await pause(RETRY_AFTER_MS, undefined, { ref: false })
    }
  }
}
