import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { HoldRequest } from '../../src/stores/contracts/accounts.ts'
import type { Stores } from '../../src/stores/open.ts'
import { usageOf } from '../contract/token-store.ts'
import type { Starvation } from '../support/starvation.ts'

export interface Seen {
  paid: number
  refused: number
  /** Of a refusal, less what the machine did not let this process run. */
  slowestMs: number
  starved: Starvation
}

/** What the work gives, unless the store is away. */
async function orRefused<T>(seen: Seen, work: () => Promise<T>): Promise<T | 'refused'> {
  const started = performance.now()
  const starvedMs = seen.starved.ms()
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'store_unavailable') throw error
    seen.refused += 1
    const tookMs = performance.now() - started
    // A moment later: the watch may come after this turn.
    await wait(15)
    seen.slowestMs = Math.max(seen.slowestMs, tookMs - (seen.starved.ms() - starvedMs))
    return 'refused'
  }
}

/** Holds, raises the hold and settles until it is told to stop; counts only what was acknowledged. */
export async function spend(
  { tokens }: Stores,
  id: string,
  seen: Seen,
  goesOn: () => boolean,
): Promise<void> {
  while (goesOn()) {
    const ask: HoldRequest = { accounts: [id], requestId: randomUUID(), micros: 5, leastMicros: 5 }
    const hold = await orRefused(seen, () => tokens.hold(ask))
    if (hold === 'refused') continue
    if (hold === undefined) throw new Error('the balance was to last')
    const raised = await orRefused(seen, () => tokens.raise(hold.id, 10))
    if (raised === undefined) throw new Error('the balance was to last')
    // What was used is charged, whatever came of the raise.
    const settled = await orRefused(seen, () => tokens.settle(hold.id, usageOf(id, 7)))
    if (settled !== 'refused') seen.paid += 7
  }
}

/** Until so many more were charged, or refused: the workers are at it. */
export async function further(seen: Seen, what: 'paid' | 'refused', count: number): Promise<void> {
  const enough = seen[what] + (what === 'paid' ? 7 * count : count)
  while (seen[what] < enough) await wait(5)
}

/** What the books say once nothing is held any more. */
export const goneHolds = async (stores: Stores, id: string) => {
  for (const until = Date.now() + 20_000; Date.now() < until; await wait(50)) {
    const found = await stores.tokens.credits(id).catch(() => undefined)
    if (found?.heldMicros === 0) return found
  }
  return stores.tokens.credits(id)
}

/** How long until every replica serves again. */
export async function backAfter(replicas: readonly Stores[]): Promise<number> {
  const started = performance.now()
  while (!replicas.every(({ tokens }) => tokens.isReady())) {
    if (performance.now() - started > 30_000) throw new Error('never back')
    await wait(10)
  }
  return performance.now() - started
}

/** Until no replica serves any more. */
export const down = async (replicas: readonly Stores[]): Promise<void> => {
  while (replicas.some(({ tokens }) => tokens.isReady())) await wait(5)
}
