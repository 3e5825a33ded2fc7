import { type GatewayError, gatewayRestarting, invalidApiKey } from '../errors.ts'
import type { Cuttable, Live } from '../live.ts'
import type { OpenSocket, OpenSockets } from './open-sockets.ts'
import type { Relay } from './relay.ts'

/** What all WebSockets of one app share, whatever they are for. */
export interface SharedSockets {
  sockets: OpenSockets
  live: Live
  idleTimeoutMs: number
}

/** One socket from its dial to its end: what stops it meets it in either. */
export abstract class Session implements Cuttable, OpenSocket {
  slot = -1
  protected dialing: { abort(): void } | undefined
  protected relay: Relay | undefined
  /** Why it was stopped: whoever still dials for it throws this. */
  protected stopped: GatewayError | undefined

  cut(): void {
    this.#stop(gatewayRestarting('The gateway is restarting. Connect again.'), 1012, 'service restart')
  }

  close(code: number, reason: string): void {
    this.#stop(invalidApiKey('The token is no longer valid. Ask for a new one.'), code, reason)
  }

  tick(ms: number): void {
    this.relay?.tick(ms)
  }

  #stop(error: GatewayError, code: number, reason: string): void {
    this.stopped ??= error
    if (this.relay) this.relay.close(code, reason)
    else this.dialing?.abort()
  }
}
