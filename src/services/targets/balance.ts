import type { ServiceRoute } from '../../config/catalog/service-routes.ts'
import type { Stay } from './sticky.ts'
import type { Target } from './target.ts'

/** How much a target is to be preferred; the least is. */
const WELL = 0
/** Its rest is over: it takes its turn once more, but no request that has failed elsewhere. */
const DUE = 1
const RESTING = 2
const DOWN = 3

export interface Choice {
  balance: ServiceRoute['balance']
  /** Those that this request was at. */
  tried: readonly Target[]
  stay: Stay
  nowMs: number
}

/**
 * The target to ask next. One that rests or is down comes only where no other is left: then the one that is back first is
 * asked all the same. Pure.
 */
export function chooseTarget(targets: readonly Target[], choice: Choice): Target | undefined {
  const { tried, stay } = choice
  let best: Target | undefined
  let bestRank = DOWN
  for (const one of targets) {
    if (tried.includes(one)) continue
    const rank = rankOf(one, choice)
    if (rank === WELL && stay.tag !== undefined && one.tag === stay.tag) return one
    const isBetter = rank === bestRank ? isBefore(one, best, choice) : rank < bestRank
    if (best && !isBetter) continue
    best = one
    bestRank = rank
  }
  return best
}

function rankOf({ isDown, standing }: Target, { tried, nowMs }: Choice): number {
  if (isDown) return DOWN
  if (!standing.isResting) return WELL
  if (!standing.isDue(nowMs)) return RESTING
  return tried.length === 0 ? WELL : DUE
}

/** Between two of the same rank. */
function isBefore(one: Target, other: Target | undefined, { stay, balance, nowMs }: Choice): boolean {
  if (other === undefined) return true
  if (one.isDown) return one.turn < other.turn
  const [own, others] = [one.standing, other.standing]
  const isNoneWell = own.isResting && others.isResting && !(own.isDue(nowMs) && others.isDue(nowMs))
  if (isNoneWell) return own.backAtMs < others.backAtMs
  if (stay.seed !== undefined) return one.weightFor(stay.seed) > other.weightFor(stay.seed)
  if (balance === 'least-in-flight' && own.inFlight !== others.inFlight) return own.inFlight < others.inFlight
  return one.turn < other.turn
}
