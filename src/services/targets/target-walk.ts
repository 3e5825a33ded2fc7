import type { FastifyRequest } from 'fastify'
import type { ServiceRoute, ServiceTarget } from '../../config/catalog/service-routes.ts'
import { REPEATABLE } from '../../config/catalog/service-row.ts'
import { codeOf } from '../../errors.ts'
import { type Failure, readNetworkFailure } from '../../routing/failover.ts'
import type { Sent } from '../../upstream/service-call.ts'
import type { Ask, Target, Targets } from './targets.ts'

/** What a connection says that its other side had closed. */
const CLOSED = new Set<unknown>(['CLOSED_EARLY', 'ECONNRESET', 'EPIPE', 'ECONNABORTED'])
/** Asked twice they do what they do once. */
const IDEMPOTENT = new Set<string>(REPEATABLE)
const NONE: readonly Target[] = []

export interface Walker {
  route: ServiceRoute
  request: FastifyRequest
  targets: Targets
  /** A body that was begun is never sent twice. */
  hasBody: boolean
}

/** One request's way from target to target, each told how it went. */
export class TargetWalk {
  readonly #walker: Walker
  #current: Target | undefined
  #ask: Ask = 0
  #tried: readonly Target[] = NONE
  #asks = 0
  #wasClosed = false

  constructor(walker: Walker) {
    this.#walker = walker
  }

  get current(): Target | undefined {
    return this.#current
  }

  get asks(): number {
    return this.#asks
  }

  /** Where to ask now; undefined: nowhere, a provider answers here. */
  begin(): ServiceTarget | undefined {
    const { route, request, targets } = this.#walker
    const { headers } = request
    const target = targets.choose(route, headers, this.#tried) ?? targets.choose(route, headers, NONE)
    if (!target) return undefined
    this.#current = target
    this.#asks += 1
    this.#ask = target.began()
    return target.place
  }

  /** Whether the answer goes on to the client; otherwise another one is asked for. */
  takes(status: number): boolean {
    const { retry } = this.#walker.route
    this.#current?.answered(this.#ask, status)
    if (retry.statuses.length === 0 || !retry.statuses.includes(status) || !this.#mayRepeat()) return true
    this.#leave()
    return false
  }

  /** Whether, and how, to ask again. */
  next(error: Error, sent: Sent): 'another' | 'fresh' | undefined {
    const failure = readNetworkFailure(error)
    if (this.#mayBeFresh(error, sent)) {
      this.#wasClosed = true
      if (this.#current) this.#asks -= 1
      this.end()
      return 'fresh'
    }
    if (failure.kind !== 'own') this.#current?.failed(this.#ask, failure)
    if (!this.#mayAskAnother(failure, sent)) return undefined
    this.#leave()
    return 'another'
  }

  /** Nothing of the last ask runs any more. */
  end(): void {
    this.#current?.ended(this.#ask)
    this.#current = undefined
  }

  #leave(): void {
    if (this.#current) this.#tried = [...this.#tried, this.#current]
    this.end()
  }

  /** A kept connection that was closed when its next request came: nobody failed, and another connection will do. */
  #mayBeFresh(error: Error, { wasSent, wasKept }: Sent): boolean {
    const { request, hasBody } = this.#walker
    if (!wasKept || this.#wasClosed || hasBody || !CLOSED.has(codeOf(error))) return false
    return !wasSent || IDEMPOTENT.has(request.method)
  }

  #mayAskAnother({ kind }: Pick<Failure, 'kind'>, { wasSent }: Sent): boolean {
    const { route, request, targets } = this.#walker
    if (kind === 'own') return false
    if (wasSent) return route.retry.onReset && kind === 'network' && this.#mayRepeat()
    if (this.#asks >= route.retry.attempts || !this.#current) return false
    // To dial the same one again at once would come to the same.
    return targets.choose(route, request.headers, [...this.#tried, this.#current]) !== undefined
  }

  #mayRepeat(): boolean {
    const { route, request, hasBody } = this.#walker
    return !hasBody && this.#asks < route.retry.attempts && route.retry.methods.includes(request.method)
  }
}
