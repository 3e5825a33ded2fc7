import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { ServiceRoute, ServiceTable, ServiceTarget } from '../../config/catalog/service-routes.ts'
import { chooseTarget } from './balance.ts'
import { Check, type Get } from './checks.ts'
import { Standing } from './standing.ts'
import { addressOf, createTagger, hasCookie, NO_STAY, readStay, writeCookie } from './sticky.ts'
import { Target, type TargetsShared } from './target.ts'

export type { Ask } from './standing.ts'
export type { Target } from './target.ts'

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
  /** All routes of the table in force, with their targets. */
  report(): readonly (readonly [ServiceRoute, readonly Target[]])[]
  /** Another table is in force: its checks begin, before anybody asks by it. */
  look(): void
  /** No check runs or begins any more. */
  close(): void
}

export interface StickyAsk {
  headers: IncomingHttpHeaders
  /** The client speaks TLS. */
  isSecure: boolean
}

export interface TargetsOptions extends Pick<TargetsShared, 'now' | 'onFailure' | 'onAnswer'> {
  table(): ServiceTable
  /** 0 to 1: the checks of several targets and replicas do not fall together. */
  random(): number
  get: Get
  /** What cookies are keyed with, the same on each replica; undefined: they hold until the next start. */
  secret(): string | undefined
}

const NONE: readonly Target[] = []

/** Whoever opens them closes them. */
export function openTargets(options: TargetsOptions): Targets {
  const known = new KnownTargets(options)
  return {
    choose(route, headers, tried = NONE) {
      const targets = known.of(route)
      const [only] = targets
      if (targets.length < 2) return only && !tried.includes(only) ? only : undefined
      const stay = route.sticky === undefined ? NO_STAY : readStay(route.sticky, headers)
      return chooseTarget(targets, { balance: route.balance, tried, stay, nowMs: options.now() })
    },
    stickyCookie(route, target, { headers, isSecure }) {
      if (route.sticky?.in !== 'cookie' || hasCookie(route.sticky, headers, target.tag)) return undefined
      return writeCookie(route.sticky, route, { tag: target.tag, isSecure })
    },
    report: () => known.all(),
    look: () => known.look(),
    close: () => known.close(),
  }
}

/** What is known of the targets of the table in force: a re-read keeps what is still there, and forgets the rest. */
class KnownTargets {
  readonly #options: TargetsOptions
  readonly #shared: TargetsShared
  #table: ServiceTable | undefined
  #isClosed = false
  /** A request that runs has the route of its table, which may be an older one. */
  #ofRoutes = new WeakMap<ServiceRoute, readonly Target[]>()
  /** By address. */
  #standings = new Map<string, Standing>()
  /** By route and address. */
  #targets = new Map<string, Target>()
  /** By address and rules: two routes that ask the same of the same target ask once. */
  #checks = new Map<string, Check>()

  constructor(options: TargetsOptions) {
    const installed = randomBytes(32).toString('hex')
    const tagOf = createTagger(() => options.secret() ?? installed)
    const { now, onFailure, onAnswer } = options
    this.#options = options
    this.#shared = { now, onFailure, onAnswer, tagOf, turns: 0 }
    this.look()
  }

  of(route: ServiceRoute): readonly Target[] {
    const found = this.#ofRoutes.get(route)
    if (found) return found
    this.look()
    return this.#ofRoutes.get(route) ?? this.#take(route, new Map(), this.#standings)
  }

  all(): readonly (readonly [ServiceRoute, readonly Target[]])[] {
    this.look()
    return this.#options.table().routes.map((route) => [route, this.of(route)])
  }

  close(): void {
    this.#isClosed = true
    for (const check of this.#checks.values()) check.close()
    this.#checks.clear()
  }

  look(): void {
    if (this.#isClosed) return
    const table = this.#options.table()
    if (table === this.#table) return
    this.#table = table
    const targets = new Map<string, Target>()
    const standings = new Map<string, Standing>()
    for (const route of table.routes) this.#take(route, targets, standings)
    this.#targets = targets
    this.#standings = standings
    this.#renewChecks(table)
  }

  #take(
    route: ServiceRoute,
    targets: Map<string, Target>,
    standings: Map<string, Standing>,
  ): readonly Target[] {
    const taken = route.targets.map((place) => {
      const address = addressOf(place)
      const standing =
        standings.get(address) ?? this.#standings.get(address) ?? new Standing(this.#shared.now())
      standings.set(address, standing)
      const key = keyOf(route, place)
      const target = this.#targets.get(key) ?? new Target(route.name, { place, standing }, this.#shared)
      targets.set(key, target)
      return target
    })
    this.#ofRoutes.set(route, taken)
    return taken
  }

  #renewChecks({ routes }: ServiceTable): void {
    const checks = new Map<string, Check>()
    for (const route of routes)
      for (const target of this.of(route)) {
        target.check = this.#checkOf(route, target, checks)
        // Its key is derived here, and not while a request waits.
        if (route.sticky?.in === 'cookie') void target.tag
      }
    for (const [key, check] of this.#checks) if (!checks.has(key)) check.close()
    this.#checks = checks
  }

  #checkOf({ check: rules }: ServiceRoute, target: Target, checks: Map<string, Check>): Check | undefined {
    if (rules === undefined) return undefined
    const { origin } = target.place
    const key = JSON.stringify([addressOf(target.place), rules])
    const onUp = () => target.standing.recovered(this.#shared.now())
    const check =
      checks.get(key) ?? this.#checks.get(key) ?? new Check(origin, rules, { ...this.#options, onUp })
    checks.set(key, check)
    return check
  }
}

function keyOf({ name, prefix, serves }: ServiceRoute, place: ServiceTarget): string {
  return JSON.stringify([name, prefix, serves, place])
}
