import type { FastifyRequest } from 'fastify'
import { clientLeft } from '../errors.ts'
import type { Dial, Dialed, DialRules } from '../upstream/websocket-dial.ts'
import type { Holder } from '../websocket/open-sockets.ts'
import { type End, Relay } from '../websocket/relay.ts'
import { Session, type SharedSockets } from '../websocket/session.ts'

/** What all sockets to services share. */
export interface ServiceShared extends SharedSockets {
  wayOut: DialRules
}

/** One socket to a service of the operator's, from the dial to the end; unmetered. */
export class ServiceSession extends Session {
  readonly #request: FastifyRequest
  readonly #shared: ServiceShared
  #leave = (): void => {}
  #isOver = false
  #whenOver: (() => void) | undefined

  constructor(request: FastifyRequest, shared: ServiceShared) {
    super()
    this.#request = request
    this.#shared = shared
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

  async open(start: () => Dial): Promise<Dialed> {
    if (this.stopped) throw this.stopped
    const dialing = start()
    this.dialing = dialing
    const dialed = await dialing.result
    if (this.stopped) throw this.stopped
    return dialed
  }

  begin(client: End, upstream: End): void {
    this.#request.line.status = 101
    const { idleTimeoutMs } = this.#shared
    this.relay = new Relay({ client, upstream, idleTimeoutMs, over: () => this.over() })
    this.relay.start()
  }

  /** It is called also when the client went away before the 101, or the handshake came to nothing. */
  over(): void {
    if (this.#isOver || this.relay?.isOpen) return
    this.#isOver = true
    this.stopped ??= clientLeft('The client left.')
    if (!this.relay) this.dialing?.abort()
    Object.assign(this.#request.line, this.relay?.counts())
    this.#shared.live.delete(this)
    this.#leave()
    this.#whenOver?.()
  }
}
