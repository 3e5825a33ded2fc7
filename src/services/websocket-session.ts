import type { FastifyRequest } from 'fastify'
import type { FoundRoute } from '../config/catalog/service-routes.ts'
import { clientLeft, invalidToken, upgradeNotServed } from '../errors.ts'
import { type Failure, readNetworkFailure } from '../routing/failover.ts'
import { type Dialed, type DialRules, type DialTarget, dialWebsocket } from '../upstream/websocket-dial.ts'
import type { Holder } from '../websocket/open-sockets.ts'
import { type End, Relay } from '../websocket/relay.ts'
import { Session, type SharedSockets } from '../websocket/session.ts'
import type { Ask, Target, Targets } from './targets.ts'

/** What all sockets to services share. */
export interface ServiceShared extends SharedSockets {
  wayOut: DialRules
  targets: Pick<Targets, 'choose' | 'stickyCookie'>
  wallMs(): number
}

/** Where a handshake goes at one of the route's targets. */
export type HandshakeFor = (target: Target) => DialTarget

/** Who answered, and what. */
export interface Answered {
  dialed: Dialed
  target: Target
}

/** What a client is told whose service hung up without a word, as one does that dies or is started anew. */
const HUNG_UP = { code: 1011, reason: 'the service hung up' }
const EXPIRED = 'the JWT has expired'

/** One socket to a service of the operator's, from the dial to the end; unmetered. */
export class ServiceSession extends Session {
  readonly #request: FastifyRequest
  readonly #route: FoundRoute['route']
  readonly #shared: ServiceShared
  /** When the caller's right ends by itself. */
  readonly #expiresAt: number
  #asked: { target: Target; ask: Ask } | undefined
  #leave = (): void => {}
  #isOver = false
  #whenOver: (() => void) | undefined

  constructor(request: FastifyRequest, { route }: FoundRoute, shared: ServiceShared) {
    super()
    this.#request = request
    this.#route = route
    this.#shared = shared
    const { caller } = request
    this.#expiresAt = caller?.kind === 'person' ? caller.expiresAt : Number.POSITIVE_INFINITY
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

  /** Asks one target, and others as far as the route allows it. */
  async open(handshakeFor: HandshakeFor): Promise<Answered> {
    const { headers } = this.#request
    const { totalMs = Number.POSITIVE_INFINITY } = this.#route.timeouts
    const endsAt = performance.now() + totalMs
    const tried: Target[] = []
    let last: Answered | undefined
    for (;;) {
      const target = this.#shared.targets.choose(this.#route, headers, tried)
      if (!target && last) return last
      if (!target) throw upgradeNotServed('No WebSocket is served here. Send plain HTTP.')
      tried.push(target)
      const leftMs = Math.max(1, endsAt - performance.now())
      last = { target, dialed: await this.#dial(target, handshakeFor(target), leftMs) }
      if (!this.#mayTryNext(last.dialed, tried.length)) return last
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

  override tick(ms: number): void {
    if (this.#shared.wallMs() >= this.#expiresAt)
      return this.stop(invalidToken('The JWT has expired. Connect again with a new one.'), 1008, EXPIRED)
    super.tick(ms)
  }

  /** It is called also when the client went away before the 101, or the handshake came to nothing. */
  over(): void {
    if (this.#isOver || this.relay?.isOpen) return
    this.#isOver = true
    this.stopped ??= clientLeft('The client left.')
    if (!this.relay) this.dialing?.abort()
    this.#endAsk()
    Object.assign(this.#request.line, this.relay?.counts())
    this.#shared.live.delete(this)
    this.#leave()
    this.#whenOver?.()
  }

  async #dial(target: Target, handshake: DialTarget, leftMs: number): Promise<Dialed> {
    if (this.stopped) throw this.stopped
    const { line } = this.#request
    const ask = target.began()
    this.#asked = { target, ask }
    line.attempts = (line.attempts ?? 0) + 1
    const dialing = dialWebsocket(handshake, this.#rules(leftMs))
    this.dialing = dialing
    const dialed = await dialing.result
    if (this.stopped) throw this.stopped
    if (dialed.kind === 'failed') this.#note(target, ask, readNetworkFailure(dialed.error))
    else target.answered(ask, dialed.kind === 'open' ? 101 : dialed.refusal.status)
    if (dialed.kind !== 'open') this.#endAsk()
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

  #note(target: Target, ask: Ask, failure: Failure): void {
    const { line, log } = this.#request
    target.failed(ask, failure)
    line.cause = failure.reason
    log.warn({ service: this.#route.name, reason: failure.reason }, 'service failed')
  }

  #mayTryNext(dialed: Dialed, asks: number): boolean {
    const { attempts, methods, onReset, statuses } = this.#route.retry
    if (dialed.kind === 'open' || asks >= attempts) return false
    if (dialed.kind === 'failed' && !dialed.wasSent) return readNetworkFailure(dialed.error).kind !== 'own'
    if (!methods.includes('GET')) return false
    if (dialed.kind === 'refused') return statuses.includes(dialed.refusal.status)
    return onReset && readNetworkFailure(dialed.error).kind === 'network'
  }

  #endAsk(): void {
    this.#asked?.target.ended(this.#asked.ask)
    this.#asked = undefined
  }
}
