import type { ServiceTarget } from '../../config/catalog/service-routes.ts'
import type { Failure } from '../../routing/failover.ts'
import type { Check } from './checks.ts'
import { type Ask, isFault, type Standing } from './standing.ts'
import { addressOf, numberOf, weigh } from './sticky.ts'

/** What all targets of an app share. */
export interface TargetsShared {
  /** A clock that never goes back. */
  now(): number
  onFailure(route: string, reason: string): void
  /** From the ask to the head of its answer. */
  onAnswer(route: string, latencyMs: number): void
  /** What cookies call it. */
  tagOf(place: ServiceTarget): string
  /** How many asks there were: each takes the next number. */
  turns: number
}

/** One target of one route, as a request asks it: `began`, then `answered` or `failed`, and `ended` at last, always. */
export class Target {
  readonly place: ServiceTarget
  /** How it did, whichever of the routes that lead there asked. */
  readonly standing: Standing
  check: Check | undefined
  /** Of this route alone. */
  inFlight = 0
  /** Which ask of all its last one was: who was not asked for longest is next, however many rested meanwhile. */
  turn = 0
  readonly #route: string
  readonly #shared: TargetsShared
  #number: number | undefined

  constructor(route: string, at: { place: ServiceTarget; standing: Standing }, shared: TargetsShared) {
    this.place = at.place
    this.standing = at.standing
    this.#route = route
    this.#shared = shared
  }

  /** Right before it is dialed. */
  began(): Ask {
    this.#shared.turns += 1
    this.turn = this.#shared.turns
    this.inFlight += 1
    return this.standing.began(this.#shared.now())
  }

  /** The head of its answer is there: 101 of a WebSocket as well. */
  answered(ask: Ask, status: number): void {
    const now = this.#shared.now()
    this.standing.answered(ask, status, now)
    this.#shared.onAnswer(this.#route, Math.max(0, now - ask))
    if (isFault(status)) this.#shared.onFailure(this.#route, String(status))
  }

  /** It could not be dialed, reset, was late, or spoke no HTTP (`readNetworkFailure`). Never for what a client did. */
  failed(ask: Ask, { kind, reason }: Pick<Failure, 'kind' | 'reason'>): void {
    this.#shared.onFailure(this.#route, reason)
    // What this machine could not send is no fault of who was to get it.
    if (kind !== 'own') this.standing.failed(ask, reason, this.#shared.now())
  }

  /** Nothing of this ask runs any more: once for each, also when the client left. */
  ended(ask: Ask): void {
    this.inFlight -= 1
    this.standing.ended(ask)
  }

  /** Its checks say so. */
  get isDown(): boolean {
    return this.check?.isDown ?? false
  }

  get state(): 'up' | 'resting' | 'down' {
    if (this.isDown) return 'down'
    return this.standing.isUnwell(this.#shared.now()) ? 'resting' : 'up'
  }

  /** Since when, on the clock that never goes back. */
  get sinceMs(): number {
    const { check, state, standing } = this
    if (check?.isDown) return check.sinceMs
    const sinceMs = standing.sinceMs(this.#shared.now())
    return state === 'resting' ? sinceMs : Math.max(check?.sinceMs ?? 0, sinceMs)
  }

  /** How much it is the one for what hashes to `seed`. */
  weightFor(seed: number): number {
    this.#number ??= numberOf(addressOf(this.place))
    return weigh(seed, this.#number)
  }

  get tag(): string {
    return this.#shared.tagOf(this.place)
  }
}
