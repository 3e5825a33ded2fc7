import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../deadlines.ts'
import { GatewayError, storeUnavailable } from '../errors.ts'

/** How long a socket waits for a store that does not answer before its client is told to come again. */
const PATIENCE_MS = 5_000
const RETRY_AFTER_MS = 1_000

/** What `work` says, or after a while that the store is down; the work itself goes on. */
export function orTooLate(work: Promise<unknown>): Promise<unknown> {
  const why = storeUnavailable('The balance cannot be checked right now. Connect again in a moment.')
  return within(PATIENCE_MS, work, why)
}

/** Asks again until the store answers: for what was used already and must be paid. */
export const untilStored = async <T>(ask: () => Promise<T>): Promise<T> => {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof GatewayError && error.code === 'store_unavailable')) throw error
      await pause(RETRY_AFTER_MS, undefined, { ref: false })
    }
  }
}
