import type { Price } from '../config/catalog/catalog.ts'
import { insufficientQuota } from '../errors.ts'
import { type CostFacts, leastMicros, worstCaseMicros } from '../metering/price.ts'
import type { Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'

/**
 * Sets the worst case aside before a provider is asked: the dearest of all steps that may answer. It is no hook,
 * so that nothing can come between the hold and the request that settles it. Throws `insufficient_quota` and
 * `store_unavailable`.
 */
export async function holdWorstCase(
  store: Accounts,
  { token, requestId }: { token: Token; requestId: string },
  steps: readonly Step[],
  facts: CostFacts,
): Promise<Hold> {
  let [micros, least] = [0, 0]
  for (const { model } of steps) {
    micros = Math.max(micros, worstCaseMicros(facts, model.price, model.maxOutput))
    least = Math.max(least, leastMicros(facts, model.price))
  }
  // A limit that the client named itself must be covered: only without one may a request begin on what is left.
  const leastWanted = facts.outputLimit === undefined ? Math.min(least, micros) : micros
  const hold = await store.hold({ accounts: [token.id], requestId, micros, leastMicros: leastWanted })
  if (hold) return hold
  throw insufficientQuota(
    `Your balance does not cover this request, which may cost ${credits(micros)} credits; ` +
      'ask for fewer tokens (max_tokens) or have your token topped up. GET /v1/token shows your balance.',
  )
}

/**
 * Turns away what cannot be paid however little it is: for a body that is still to be read, at the cheapest price there
 * is. Credits that other requests hold may come back until it is here, and count for it. Throws `insufficient_quota`.
 */
export async function refuseUncovered(
  store: Accounts,
  token: Token,
  prices: readonly Price[],
  facts: CostFacts,
): Promise<void> {
  const least = Math.min(...prices.map((price) => leastMicros(facts, price)))
  if (least === 0 || least === Number.POSITIVE_INFINITY) return
  // A store that cannot be asked refuses the hold itself, in words of its own.
  const found = await store.credits(token.id).catch(() => undefined)
  if (!found || found.balanceMicros + found.heldMicros >= least) return
  throw insufficientQuota(
    `Your balance does not cover a body of this size, which costs at least ${credits(least)} credits; ` +
      'send less or have your token topped up. GET /v1/token shows your balance.',
  )
}

function credits(micros: number): number {
  return Math.ceil(micros / 1e6)
}
