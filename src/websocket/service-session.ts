import type { FastifyRequest } from 'fastify'
import { type GatewayError, gatewayRestarting, invalidApiKey, upstreamFailed } from '../errors.ts'
import type { Cuttable } from '../proxy/live.ts'
import type { Dial, Dialed } from './dial.ts'
import type { Holder, OpenSocket } from './open-sockets.ts'
import { type End, Relay } from './relay.ts'
import type { WebsocketTools } from './tools.ts'

/** One socket to a service of the operator's, from the dial to the end; unmetered. */
export class ServiceSession implements Cuttable, OpenSocket {
  slot = -1
  readonly #request: FastifyRequest
  readonly #tools: WebsocketTools
  #leave = (): void => {}
  #dial: Dial | undefined
  #relay: Relay | undefined
  #stopped: GatewayError | undefined
  #isOver = false
  /** The log line may be written. */
  #told = (): void => {}

  constructor(request: FastifyRequest, tools: WebsocketTools) {
    this.#request = request
    this.#tools = tools
  }

  /** Throws when its holder has too many. */
  enter(holder: Holder): void {
    this.#leave = this.#tools.sockets.enter(holder, this)
    this.#tools.live.add(this)
    this.#request.billing = new Promise((resolve) => {
      this.#told = resolve
    })
  }

  async open(start: () => Dial): Promise<Dialed> {
    if (this.#stopped) throw this.#stopped
    this.#dial = start()
    const dialed = await this.#dial.result
    if (this.#stopped) throw this.#stopped
    return dialed
  }

  begin(client: End, upstream: End): void {
    this.#request.line.status = 101
    const { idleTimeoutMs } = this.#tools
    this.#relay = new Relay({ client, upstream, idleTimeoutMs, over: () => this.over() })
    this.#relay.start()
  }

  cut(): void {
    this.#stop(gatewayRestarting('The gateway is restarting. Connect again.'), 1012, 'service restart')
  }

  close(code: number, reason: string): void {
    this.#stop(invalidApiKey('The token is no longer valid. Ask for a new one.'), code, reason)
  }

  tick(ms: number): void {
    this.#relay?.tick(ms)
  }

  /** Also when the client went away before the 101, or the handshake came to nothing. */
  over(): void {
    if (this.#isOver || this.#relay?.isOpen) return
    this.#isOver = true
    this.#stopped ??= upstreamFailed('The client left.')
    if (!this.#relay) this.#dial?.abort()
    Object.assign(this.#request.line, this.#relay?.counts())
    this.#tools.live.delete(this)
    this.#leave()
    this.#told()
  }

  #stop(error: GatewayError, code: number, reason: string): void {
    this.#stopped ??= error
    if (this.#relay) this.#relay.close(code, reason)
    else this.#dial?.abort()
  }
}
