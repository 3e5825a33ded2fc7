import type { FastifyRequest } from 'fastify'
import { Billed } from '../billing/billed.ts'
import { clientLeft } from '../errors.ts'
import type { Dial, Dialed } from '../websocket/dial.ts'
import type { Holder } from '../websocket/open-sockets.ts'
import { type End, Relay } from '../websocket/relay.ts'
import { Session } from '../websocket/session.ts'
import type { WebsocketTools } from '../websocket/tools.ts'

/** One socket to a service of the operator's, from the dial to the end; unmetered. */
export class ServiceSession extends Session {
  readonly #request: FastifyRequest
  readonly #tools: WebsocketTools
  #leave = (): void => {}
  #isOver = false
  readonly #billed = new Billed()

  constructor(request: FastifyRequest, tools: WebsocketTools) {
    super()
    this.#request = request
    this.#tools = tools
  }

  /** Throws when its holder has too many. */
  enter(holder: Holder): void {
    this.#leave = this.#tools.sockets.enter(holder, this)
    this.#tools.live.add(this)
    this.#request.billing = this.#billed
  }

  async open(start: () => Dial): Promise<Dialed> {
    if (this.stopped) throw this.stopped
    this.dialing = start()
    const dialed = await this.dialing.result
    if (this.stopped) throw this.stopped
    return dialed
  }

  begin(client: End, upstream: End): void {
    this.#request.line.status = 101
    const { idleTimeoutMs } = this.#tools
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
    this.#tools.live.delete(this)
    this.#leave()
    this.#billed.over()
  }
}
