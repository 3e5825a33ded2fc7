import type { IncomingMessage } from 'node:http'
import type { Deadline, Deadlines } from '../deadlines.ts'
import { bodyTooSlow, type GatewayError } from '../errors.ts'
import { LEAST_BYTES_PER_SECOND, PACE_MS, tooSlow } from '../request/body.ts'

/** A pace is judged over so long a time. */
const JUDGED_MS = 2 * PACE_MS

/**
 * Ends a body that somebody else reads when its client stops sending for `timeoutMs`, or crawls: the reader gets a
 * `request_timeout` as of a stream that failed.
 */
export function watchPace(request: IncomingMessage, deadlines: Deadlines, timeoutMs: number): void {
  if (!request.complete && !request.destroyed) new PaceWatch(request, deadlines, timeoutMs)
}

class PaceWatch {
  readonly #request: IncomingMessage
  readonly #timeoutMs: number
  readonly #lookMs: number
  readonly #deadline: Deadline
  #seenBytes: number
  #stillMs = 0
  /** The time that was waited since the pace was judged last. */
  #waitedMs = 0
  #arrived = 0

  constructor(request: IncomingMessage, deadlines: Deadlines, timeoutMs: number) {
    this.#request = request
    this.#timeoutMs = timeoutMs
    this.#lookMs = Math.min(PACE_MS, timeoutMs)
    this.#seenBytes = request.socket.bytesRead
    this.#deadline = deadlines.open(() => this.#look())
    this.#deadline.start(this.#lookMs)
    request.once('close', () => this.#deadline.stop())
  }

  #look(): void {
    const { complete, destroyed, socket, readableLength } = this.#request
    if (complete || destroyed) return
    // What waits here waits for the provider.
    const arrived = readableLength > 0 ? Number.POSITIVE_INFINITY : socket.bytesRead - this.#seenBytes
    this.#seenBytes = socket.bytesRead
    this.#stillMs = arrived > 0 ? 0 : this.#stillMs + this.#lookMs
    if (this.#stillMs >= this.#timeoutMs) return this.#end(paused(this.#timeoutMs))
    if (!this.#isQuickEnough(arrived)) return this.#end(tooSlow())
    this.#deadline.again()
  }

  /** The pace is judged when something comes after a pause that may be. */
  #isQuickEnough(arrived: number): boolean {
    this.#arrived += arrived
    this.#waitedMs += this.#lookMs
    if (this.#waitedMs < JUDGED_MS || arrived === 0) return true
    const isQuick = this.#arrived >= (LEAST_BYTES_PER_SECOND * this.#waitedMs) / 1000
    this.#arrived = 0
    this.#waitedMs = 0
    return isQuick
  }

  #end(error: GatewayError): void {
    if (this.#request.listenerCount('error') > 0) this.#request.emit('error', error)
    else this.#request.socket.destroy()
  }
}

function paused(timeoutMs: number) {
  return bodyTooSlow(`The body paused for ${timeoutMs / 1000} seconds; send it again`)
}
