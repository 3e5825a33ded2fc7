import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import type { Dispatcher, Pool } from 'undici'
import type { UpstreamBody } from './ask.ts'
import type { UpstreamTimeouts } from './upstreams.ts'

/** What becomes of one ask of a provider. Exactly one of `refused`, `failed` and `ended` is the last call. */
export interface AttemptListener {
  /** The head of an answer is here. False: it is not wanted; the rest is thrown away, nothing more is reported. */
  answered(status: number, headers: IncomingHttpHeaders): boolean
  data(chunk: Buffer): void
  ended(): void
  failed(error: Error): void
}

export interface Attempt {
  /** Aborts the call; nothing more is reported. */
  abort(): void
  pause(): void
  resume(): void
}

export interface AttemptRequest {
  pool: Pool
  path: string
  headers: string[]
  body: UpstreamBody
  timeouts: UpstreamTimeouts
}

/** A refused answer up to this size is read to its end, so that the connection can be used again. */
const MAX_DRAINED_BYTES = 64 * 1024

class Gone extends Error {
  readonly code = 'GW_ABANDONED'
}

/** One POST to one provider. Never follows a redirect, never retries by itself. */
export const startAttempt = (ask: AttemptRequest, listener: AttemptListener): Attempt => {
  const call = new Call(listener)
  const { body, length } = ask.body
  if (length !== undefined) ask.headers.push('content-length', String(length))
  const options: Dispatcher.DispatchOptions = {
    path: ask.path,
    method: 'POST',
    headers: ask.headers,
    headersTimeout: ask.timeouts.firstByteTimeoutMs,
    bodyTimeout: ask.timeouts.idleTimeoutMs,
  }
  // undici sends any iterable of buffers piece by piece (its documentation says so, its types do not).
  if (Array.isArray(body)) Reflect.set(options, 'body', body)
  else if (Buffer.isBuffer(body) || body instanceof Readable) options.body = body
  ask.pool.dispatch(options, call)
  return call
}

class Call implements Attempt, Dispatcher.DispatchHandler {
  #listener: AttemptListener
  #controller: Dispatcher.DispatchController | undefined
  #state: 'waiting' | 'wanted' | 'drained' | 'over' = 'waiting'
  #drained = 0

  constructor(listener: AttemptListener) {
    this.#listener = listener
  }

  abort(): void {
    this.#state = 'over'
    this.#controller?.abort(new Gone('The gateway gave the call up'))
  }

  pause(): void {
    this.#controller?.pause()
  }

  resume(): void {
    this.#controller?.resume()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#state === 'over') controller.abort(new Gone('The gateway gave the call up'))
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
  ): void {
    if (this.#state !== 'waiting' || status < 200) return
    this.#state = 'wanted'
    if (!this.#listener.answered(status, headers) && this.#state === 'wanted') this.#state = 'drained'
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#state === 'wanted') return this.#listener.data(chunk)
    this.#drained += chunk.length
    if (this.#drained > MAX_DRAINED_BYTES) controller.abort(new Gone('The refused answer is too long'))
  }

  onResponseEnd(): void {
    if (this.#state !== 'wanted') return
    this.#state = 'over'
    this.#listener.ended()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#state !== 'wanted' && this.#state !== 'waiting') return
    this.#state = 'over'
    this.#listener.failed(error)
  }
}
