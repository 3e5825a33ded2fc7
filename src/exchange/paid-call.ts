import type { BilledRequest } from '../billing/bill.ts'
import type { holdCredits, refuseUncovered } from '../billing/hold.ts'
import type { Catalog, Provider } from '../config/catalog/catalog.ts'
import type { Deadlines } from '../deadlines.ts'
import type { UpstreamHeaders } from '../dialects/headers.ts'
import type { Live } from '../live.ts'
import type { SharedBytes } from '../request/shared-bytes.ts'
import type { SpoolRoom } from '../request/spool.ts'
import type { ProviderAddresses } from '../routing/addresses.ts'
import type { ProviderHealth } from '../routing/health.ts'
import type { Step } from '../routing/plan.ts'
import type { IdempotencyStore } from '../stores/contracts/idempotency.ts'
import type { TokenStore } from '../stores/contracts/token-store.ts'
import type { Turns } from '../turns.ts'
import type { UpstreamTimeouts } from '../upstream/rules.ts'
import type { Upstreams } from '../upstream/upstreams.ts'
import type { Downstream, ErrorWriter } from './downstream.ts'

/** What all paid requests of one app share; `src/shared.ts` opens it. */
export interface Shared {
  catalog(): Catalog
  tokens: TokenStore
  idempotency: IdempotencyStore
  /** Sets the worst case aside, or turns the request away. */
  hold: typeof holdCredits
  /** Turns a body away that is still to be read and cannot be paid, however little it is. */
  refuseUncovered: typeof refuseUncovered
  errors: ErrorWriter
  upstreams: Upstreams
  upstreamHeaders: UpstreamHeaders
  deadlines: Deadlines
  timeouts: UpstreamTimeouts
  /** How long a stream may be silent before it gets a sign of life; 0: it gets none. */
  heartbeatMs: number
  /** The longest JSON body, decoded. */
  maxJsonBytes: number
  /** How long a JSON body may take to arrive, and an upload may pause. */
  bodyTimeoutMs: number
  /** The bytes of all bodies that are here; `spool` has those of all uploads that lie on disk. */
  memory: SharedBytes
  spool: SpoolRoom
  health: ProviderHealth
  /** Which models a provider does not know, by provider, model and endpoint. */
  missingModels: ProviderHealth
  addresses: ProviderAddresses
  /** The clock that nobody sets: for rests. */
  now(): number
  /** Milliseconds since 1970. */
  wallMs(): number
  /** They share out what is too long to be read at once, token by token. */
  turns: Turns
  /** It is told of every ask that came to nothing. */
  providerFailed(provider: string, reason: string): void
  /** It is told when a provider refuses our key: there may be another one in its file. */
  keyRefused(provider: Provider): void
  /** Everything that runs, for the drain. */
  live: Live
}

/** This one paid request, held and planned, about to be asked. */
export interface PaidCall extends BilledRequest {
  steps: readonly Step[]
  downstream: Downstream
}
