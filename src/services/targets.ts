import type { IncomingHttpHeaders } from 'node:http'
import type { ServiceRoute, ServiceTable, ServiceTarget } from '../config/catalog/service-routes.ts'
import type { Failure } from '../routing/failover.ts'

/** Which of a target's asks this is: no two of one target are the same. */
export type Ask = number

/** One target of one route, as a request asks it: `began`, then `answered` or `failed`, and `ended` at last, always. */
export interface Target {
  readonly place: ServiceTarget
  /** Right before it is dialed. */
  began(): Ask
  /** The head of its answer is there: 101 of a WebSocket as well. */
  answered(ask: Ask, status: number): void
  /** It could not be dialed, reset, was late, or spoke no HTTP (`readNetworkFailure`). Never for what a client did. */
  failed(ask: Ask, failure: Pick<Failure, 'kind' | 'reason'>): void
  /** Nothing of this ask runs any more: once for each, also when the client left. */
  ended(ask: Ask): void
}

/** What a browser's cookie depends on. */
export interface StickyAsk {
  headers: IncomingHttpHeaders
  /** The client speaks TLS. */
  isSecure: boolean
}

/** Who is well, and whose turn it is; one per app. */
export interface Targets {
  /**
   * Whom to ask next: by the route's balance, or by what keeps its client with one target. Those that rest or are down
   * come only when no other is left. Undefined: all were tried, or a provider answers here.
   */
  choose(
    route: ServiceRoute,
    headers: IncomingHttpHeaders,
    tried?: readonly Target[] | undefined,
  ): Target | undefined
  /** The line `set-cookie` that keeps a client with the target that answered; undefined: it needs none. */
  stickyCookie(route: ServiceRoute, target: Target, ask: StickyAsk): string | undefined
  /** All routes of the table in force. */
  report(): readonly RouteReport[]
  /** No check runs or begins any more. */
  close(): void
}

export interface RouteReport {
  name: string
  prefix: string
  targets: readonly TargetReport[]
}

export interface TargetReport {
  origin: string
  state: 'up' | 'resting' | 'down'
  /** On the wall's clock. */
  sinceMs: number
  inFlight: number
  lastFailure?: { reason: string; atMs: number } | undefined
  check?: CheckReport | undefined
}

export interface CheckReport {
  path: string
  /** Undefined: none has ended yet. */
  lastMs?: number | undefined
  reason?: string | undefined
}

export interface TargetsOptions {
  table(): ServiceTable
  /** A clock that never goes back, and the wall's. */
  now(): number
  wallMs(): number
  /** 0 to 1: checks of several targets and replicas do not fall together. */
  random(): number
  /** The status of a GET; rejects when none came in time. */
  get(ask: { origin: string; path: string; timeoutMs: number }): Promise<number>
  /** What cookies are keyed with, the same on each replica; undefined: they hold until the next start. */
  secret(): string | undefined
  onFailure(route: string, reason: string): void
  /** From the ask to the head of its answer. */
  onAnswer(route: string, latencyMs: number): void
}

/** Whoever opens them closes them. */
export function openTargets({ now }: Pick<TargetsOptions, 'now'> & Partial<TargetsOptions>): Targets {
  const known = new WeakMap<ServiceRoute, readonly Target[]>()
  const targetsOf = (route: ServiceRoute): readonly Target[] => {
    const found = known.get(route) ?? route.targets.map((place) => openTarget(place, now))
    known.set(route, found)
    return found
  }
  return {
    choose: (route, _headers, tried = []) => targetsOf(route).find((one) => !tried.includes(one)),
    stickyCookie: () => undefined,
    report: () => [],
    close: () => {},
  }
}

function openTarget(place: ServiceTarget, now: () => number): Target {
  return { place, began: now, answered: () => {}, failed: () => {}, ended: () => {} }
}
