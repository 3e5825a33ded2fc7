import type { Live } from '../live.ts'
import type { ProviderHealth } from '../routing/health.ts'
import type { RetryBudget } from '../routing/plan-walk.ts'
import type { DialTimeouts } from './dial.ts'
import type { OpenSockets } from './open-sockets.ts'

/** What all sockets of one app share. */
export interface WebsocketTools {
  sockets: OpenSockets
  live: Live
  health: ProviderHealth
  missingModels: ProviderHealth
  budget: RetryBudget
  timeouts: DialTimeouts
  idleTimeoutMs: number
  /** The clock that nobody sets: for rests. */
  now(): number
  /** Milliseconds since 1970. */
  wallMs(): number
  /** It is told of every ask that came to nothing. */
  providerFailed(provider: string, reason: string): void
}
