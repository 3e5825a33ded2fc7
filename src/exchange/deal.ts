import type { BillRequest } from '../billing/bill.ts'
import type { Deadlines } from '../deadlines.ts'
import type { Live } from '../live.ts'
import type { ProviderHealth } from '../routing/health.ts'
import type { Step } from '../routing/plan.ts'
import type { RetryBudget } from '../routing/retry-budget.ts'
import type { Turns } from '../turns.ts'
import type { UpstreamTimeouts } from '../upstream/rules.ts'
import type { Upstreams } from '../upstream/upstreams.ts'
import type { Downstream } from './downstream.ts'

/** One paid request, held and planned, about to be asked. */
export interface ExchangeRequest extends BillRequest {
  steps: readonly Step[]
  downstream: Downstream
}

/** What all exchanges of one app share. */
export interface ExchangeTools {
  upstreams: Upstreams
  deadlines: Deadlines
  timeouts: UpstreamTimeouts
  health: ProviderHealth
  /** Which models a provider does not know, by provider, model and endpoint. */
  unknown: ProviderHealth
  budget: RetryBudget
  /** The clock that nobody sets: for rests. */
  now(): number
  /** Since 1970. */
  wallMs(): number
  /** For what is too long to be read at once, in turns of tokens. */
  turns: Turns
  /** Told of every ask that came to nothing. */
  providerFailed(provider: string, reason: string): void
  /** Everything that runs, for the drain. */
  live: Live
}
