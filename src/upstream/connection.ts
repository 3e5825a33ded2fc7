import type { Socket } from 'node:net'
import type { Call } from './call.ts'
import { dial, type Origin } from './dial.ts'
import { UpstreamError } from './upstream-error.ts'

/** Who keeps connections between two calls. */
export interface Keeper {
  readonly connectTimeoutMs: number
  /** The buffer that `dial` reads into. */
  readonly scratch: Uint8Array
  keep(connection: Connection, forMs: number): void
  forget(connection: Connection): void
}

/** One connection to a provider: one call at a time, kept for the next one when the answer ended as it should. */
export class Connection {
  readonly #socket: Socket
  readonly #origin: Origin
  readonly #keeper: Keeper
  #call: Call | undefined
  #isReady = false
  /** When the keeper lets it go, on the monotonic clock. */
  keptUntilMs = 0

  constructor(origin: Origin, keeper: Keeper) {
    this.#origin = origin
    this.#keeper = keeper
    this.#socket = dial(origin, {
      timeoutMs: keeper.connectTimeoutMs,
      scratch: keeper.scratch,
      ready: () => {
        this.#isReady = true
        this.#call?.send(this.#socket, this.#origin.authority)
      },
      read: (bytes) => this.#read(bytes),
    })
    let reason: Error | undefined
    this.#socket
      .once('end', () => this.#hungUp())
      .once('error', (error) => {
        reason = error
      })
      .once('close', () => this.#closed(reason))
  }

  /** The next call; only when there is none. Its request leaves when the connection stands. */
  carry(call: Call): void {
    this.#call = call
    if (this.#isReady) call.send(this.#socket, this.#origin.authority)
  }

  /** Gives `call` up; it may have ended long ago, and another one may be on its way here. */
  abandon(call: Call): void {
    if (this.#call !== call) return
    this.#call = undefined
    call.abandon()
    this.close()
  }

  close(): void {
    // It is forgotten at once: the socket's own event comes a turn later, and a call in between would be lost.
    this.#keeper.forget(this)
    this.#socket.destroy()
  }

  #read(bytes: Buffer): void {
    const call = this.#call
    // Bytes that nobody has asked for: whatever they are, the next answer would be read wrongly.
    if (!call) return this.close()
    const keepMs = call.read(bytes)
    if (!call.isOver()) return
    if (this.#call === call) this.#call = undefined
    if (!keepMs || this.#socket.destroyed) return this.close()
    if (this.#socket.isPaused()) this.#socket.resume()
    this.#keeper.keep(this, keepMs)
  }

  #hungUp(): void {
    const call = this.#call
    this.#call = undefined
    call?.hungUp()
    this.close()
  }

  #closed(reason: Error | undefined): void {
    const call = this.#call
    this.#call = undefined
    this.#keeper.forget(this)
    if (!call || call.isOver()) return
    call.fail(reason ?? new UpstreamError('CLOSED_EARLY', 'The connection to the provider was lost'))
  }
}
