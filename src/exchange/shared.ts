import type { Catalog, Price } from '../config/catalog/catalog.ts'
import type { Settings } from '../config/env/settings.ts'
import { Deadlines } from '../deadlines.ts'
import { createLive, type Live } from '../live.ts'
import type { CostFacts } from '../metering/price.ts'
import { SharedBytes } from '../request/shared-bytes.ts'
import { openSpoolRoom, type SpoolRoom } from '../request/spool.ts'
import { createProviderHealth, type ProviderHealth } from '../routing/health.ts'
import type { Step } from '../routing/plan.ts'
import { createRetryBudget, type RetryBudget } from '../routing/plan-walk.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { IdempotencyStore } from '../stores/contracts/idempotency.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import { createTurns, type Turns } from '../turns.ts'
import type { UpstreamTimeouts } from '../upstream/rules.ts'
import { openUpstreams, type Upstreams } from '../upstream/upstreams.ts'
import type { ErrorWriter } from './downstream.ts'

interface Payer {
  token: Token
  requestId: string
}

/** What `app.ts` hands to the paid rooms: the stores, and the words and the hold of other rooms. */
export interface Given {
  catalog(): Catalog
  tokens: Accounts
  keys: IdempotencyStore
  /** Sets the worst case aside, or turns the request away. */
  hold(store: Accounts, who: Payer, steps: readonly Step[], facts: CostFacts): Promise<Hold>
  /** Turns a body away that is still to be read and cannot be paid, however little it is. */
  refuseUncovered(store: Accounts, token: Token, prices: readonly Price[], facts: CostFacts): Promise<void>
  errors: ErrorWriter
  /** Told of every ask that came to nothing. */
  providerFailed(provider: string, reason: string): void
}

/** What all paid requests of one app share: made once, closed by `app.ts`. */
export interface Shared extends Given {
  upstreams: Upstreams
  deadlines: Deadlines
  timeouts: UpstreamTimeouts
  health: ProviderHealth
  /** Which models a provider does not know, by provider, model and endpoint. */
  missingModels: ProviderHealth
  budget: RetryBudget
  /** The clock that nobody sets: for rests. */
  now(): number
  /** Since 1970. */
  wallMs(): number
  /** For what is too long to be read at once, in turns of tokens. */
  turns: Turns
  /** Everything that runs, for the drain. */
  live: Live
  /** Of all bodies that are here; of all uploads that lie on disk. */
  memory: SharedBytes
  spool: SpoolRoom
  /** How long a JSON body may take to arrive, and an upload may pause. */
  bodyTimeoutMs: number
}

export function openShared(settings: Settings, given: Given): Shared {
  const deadlines = new Deadlines()
  return {
    ...given,
    upstreams: openUpstreams(settings.connectTimeoutMs, deadlines),
    deadlines,
    timeouts: settings,
    health: createProviderHealth(),
    missingModels: createProviderHealth(),
    budget: createRetryBudget(),
    now: () => performance.now(),
    wallMs: Date.now,
    turns: createTurns(),
    live: createLive(),
    memory: new SharedBytes(settings.bodyMemoryBytes),
    spool: openSpoolRoom(settings.spoolBytes),
    bodyTimeoutMs: settings.bodyTimeoutMs,
  }
}
