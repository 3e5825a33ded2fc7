import type { FastifyRequest } from 'fastify'
import type { FoundRoute, ServiceTarget } from '../config/catalog/service-routes.ts'
import { clientLeft, upgradeNotServed } from '../errors.ts'
import { readNetworkFailure } from '../routing/failover.ts'
import { type Dialed, type DialRules, type DialTarget, dialWebsocket } from '../upstream/websocket-dial.ts'
import type { Holder } from '../websocket/open-sockets.ts'
import { type End, Relay } from '../websocket/relay.ts'
import { Session, type SharedSockets } from '../websocket/session.ts'
import { answerFailure } from './failure.ts'
import type { Target } from './targets/target.ts'
import { TargetWalk } from './targets/target-walk.ts'
import type { Targets } from './targets/targets.ts'

/** What all sockets to services share. */
export interface ServiceShared extends SharedSockets {
  wayOut: DialRules
  targets: Targets
}

/** Where a handshake goes at one of the route's targets. */
type HandshakeFor = (place: ServiceTarget) => DialTarget

/** Who answered, and what. */
export interface Answered {
  dialed: Exclude<Dialed, { kind: 'failed' }>
  target: Target
}

/** What a client is told whose service hung up without a word, as one does that dies or is started anew. */
const HUNG_UP = { code: 1011, reason: 'the service hung up' }

/** One socket to a service of the operator's, from the dial to the end; unmetered. */
export class ServiceSession extends Session {
  readonly #request: FastifyRequest
  readonly #route: FoundRoute['route']
  readonly #shared: ServiceShared
  readonly #walk: TargetWalk
  #leave = (): void => {}
  #isOver = false
  #whenOver: (() => void) | undefined

  constructor(request: FastifyRequest, { route }: FoundRoute, shared: ServiceShared) {
    super()
    this.#request = request
    this.#route = route
    this.#shared = shared
    this.#walk = new TargetWalk({ route, request, targets: shared.targets, hasBody: false })
  }

  /** Throws when its holder has too many. */
  enter(holder: Holder): void {
    this.#leave = this.#shared.sockets.enter(holder, this)
    this.#shared.live.add(this)
    this.#request.billing = this
  }

  /** For the request line, which is written when the socket is over: there is no bill. */
  whenBilled(then: () => void): void {
    if (this.#isOver) then()
    else this.#whenOver = then
  }

  /** Asks one target, and others as far as the route allows it; throws when none of them answered. */
  async open(handshakeFor: HandshakeFor): Promise<Answered> {
    const { totalMs = Number.POSITIVE_INFINITY } = this.#route.timeouts
    const endsAt = performance.now() + totalMs
    const walk = this.#walk
    for (;;) {
      if (this.stopped) throw this.stopped
      const place = walk.begin()
      const target = walk.current
      if (!place || !target) throw upgradeNotServed('No WebSocket is served here. Send plain HTTP.')
      const dialed = await this.#dial(handshakeFor(place), endsAt - performance.now())
      if (dialed.kind === 'failed') this.#goOn(dialed.error, dialed.wasSent)
      else if (walk.takes(dialed.kind === 'open' ? 101 : dialed.refusal.status)) return { dialed, target }
    }
  }

  begin(client: End, upstream: End): void {
    this.#request.line.status = 101
    const { timeouts, limits } = this.#route
    this.relay = new Relay({
      client,
      upstream,
      idleTimeoutMs: timeouts.idleMs ?? this.#shared.idleTimeoutMs,
      maxMessageBytes: limits.maxBodyBytes,
      farewell: HUNG_UP,
      over: () => this.over(),
    })
    this.relay.start()
  }

  /** It is called also when the client went away before the 101, or the handshake came to nothing. */
  over(): void {
    if (this.#isOver || this.relay?.isOpen) return
    this.#isOver = true
    this.stopped ??= clientLeft('The client left.')
    if (!this.relay) this.dialing?.abort()
    this.#walk.end()
    Object.assign(this.#request.line, this.relay?.counts())
    this.#shared.live.delete(this)
    this.#leave()
    this.#whenOver?.()
  }

  async #dial(handshake: DialTarget, leftMs: number): Promise<Dialed> {
    this.#request.line.attempts = this.#walk.asks
    const dialing = dialWebsocket(handshake, this.#rules(Math.max(1, leftMs)))
    this.dialing = dialing
    const dialed = await dialing.result
    if (this.stopped) throw this.stopped
    return dialed
  }

  #rules(leftMs: number): DialRules {
    const { wayOut } = this.#shared
    const { connectMs = wayOut.connectTimeoutMs, firstByteMs = wayOut.firstByteTimeoutMs } =
      this.#route.timeouts
    return {
      ...wayOut,
      connectTimeoutMs: Math.min(connectMs, leftMs),
      firstByteTimeoutMs: Math.min(firstByteMs, leftMs),
    }
  }

  /** Throws where nobody else may be asked. */
  #goOn(error: Error, wasSent: boolean): void {
    const { line, log } = this.#request
    const { reason } = readNetworkFailure(error)
    line.cause = reason
    log.warn({ service: this.#route.name, reason }, 'service failed')
    if (this.#walk.next(error, { wasSent, wasKept: false, isBodys: false }) === undefined)
      throw answerFailure(error, 'service')
  }
}
