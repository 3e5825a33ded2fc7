import type { Deadlines } from '../deadlines.ts'
import type { Call } from './call.ts'
import { type Connection, type Pool, Pools } from './connections.ts'
import { ProviderCall, type ProviderListener, type ProviderRequest } from './provider-call.ts'
import { UpstreamError } from './rules.ts'
import { ServiceCall, type ServiceListener, type ServiceRequest } from './service-call.ts'
import type { ProxyFor } from './tunnel.ts'

/** One ask on its way. */
export interface Attempt {
  /** Gives it up; nothing more is reported. */
  abort(): void
  /** The reader is slow: the provider waits, and its idle timeout too. */
  pause(): void
  resume(): void
}

/** Kept connections to providers and services, by origin. */
export interface Upstreams {
  /** Sends one POST to `https://host:port` at the end of this turn, and reports to `listener`, never before this has returned. */
  ask(origin: string, request: ProviderRequest, listener: ProviderListener): Attempt
  /** Sends any request to `http://host:port` or `https://...`; otherwise like `ask`. */
  send(origin: string, request: ServiceRequest, listener: ServiceListener): Attempt
  /** Running calls fail. */
  close(): void
}

/** How every connection is made. */
export interface WayOut {
  connectTimeoutMs: number
  /** To providers. */
  proxyFor?: ProxyFor | undefined
  serviceProxyFor?: ProxyFor | undefined
}

const SCRATCH_BYTES = 64 * 1024

/** Whoever opened it closes it. There is no cap: with one, a stream would wait for another stream's end. */
export function openUpstreams(wayOut: WayOut, deadlines: Deadlines): Upstreams {
  const { connectTimeoutMs, proxyFor, serviceProxyFor } = wayOut
  const shared = { connectTimeoutMs, scratch: Buffer.allocUnsafeSlow(SCRATCH_BYTES) }
  const [providers, services] = [new Pools(shared, proxyFor), new Pools(shared, serviceProxyFor)]
  const post = createOutbox()
  const start = (call: Call, pool: Pool): Attempt => {
    const asked = new Asked(call, pool)
    post(asked)
    return asked
  }
  return {
    ask: (origin, request, listener) =>
      start(new ProviderCall(request, listener, deadlines), providers.of(origin)),
    send: (origin, request, listener) =>
      start(new ServiceCall(request, listener, deadlines), services.of(origin)),
    close() {
      providers.close()
      services.close()
    },
  }
}

/**
 * What is asked of providers in one turn of the event loop leaves together at its end. A provider on this machine is
 * woken once and not for each ask, and code that runs many times in a row stays in the processor's caches: a quarter
 * of a request's cost under load. A lone request leaves in the same turn: nothing waits for a timer.
 */
function createOutbox(): (asked: Asked) => void {
  let waiting: Asked[] = []
  const sendAll = (): void => {
    const leaving = waiting
    waiting = []
    for (const asked of leaving) asked.send()
  }
  return (asked) => {
    if (waiting.push(asked) === 1) setImmediate(sendAll)
  }
}

class Asked implements Attempt {
  readonly #call: Call
  readonly #pool: Pool
  #connection: Connection | undefined

  constructor(call: Call, pool: Pool) {
    this.#call = call
    this.#pool = pool
  }

  send(): void {
    if (this.#call.isOver()) return
    this.#connection = this.#pool.take(this.#call)
    if (this.#connection) this.#connection.carry(this.#call)
    else this.#call.fail(new UpstreamError('CLOSED_EARLY', 'The connections are closed'))
  }

  abort(): void {
    if (this.#connection) this.#connection.abandon(this.#call)
    else this.#call.abandon()
  }

  pause(): void {
    this.#call.pause()
  }

  resume(): void {
    this.#call.resume()
  }
}
