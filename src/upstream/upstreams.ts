import type { OnReadOpts, Socket } from 'node:net'
import type { Deadlines } from '../deadlines.ts'
import type { Call } from './call.ts'
import { type Origin, openSocket, readOrigin } from './open-socket.ts'
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
const SWEEP_MS = 1_000

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

/** What all connections share. */
interface SharedByAll {
  connectTimeoutMs: number
  /** Where every read of every connection lands: without it each would have a new 64 KiB buffer. */
  scratch: Uint8Array
}

/** The pools of all origins that are reached by one rule. */
class Pools {
  readonly #shared: SharedByAll
  readonly #proxyFor: ProxyFor | undefined
  readonly #pools = new Map<string, Pool>()

  constructor(shared: SharedByAll, proxyFor: ProxyFor | undefined) {
    this.#shared = shared
    this.#proxyFor = proxyFor
  }

  of(origin: string): Pool {
    const known = this.#pools.get(origin)
    if (known) return known
    const pool = new Pool(readOrigin(origin, this.#proxyFor), this.#shared)
    this.#pools.set(origin, pool)
    return pool
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close()
  }
}

/** The connections of one origin; the one used last is used next, so that the others can go. */
class Pool {
  readonly scratch: Uint8Array
  readonly #origin: Origin
  readonly #connectTimeoutMs: number
  readonly #all = new Set<Connection>()
  readonly #idle: Connection[] = []
  #sweeper: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(origin: Origin, shared: SharedByAll) {
    this.#origin = origin
    this.#connectTimeoutMs = shared.connectTimeoutMs
    this.scratch = shared.scratch
  }

  /** One for this call, kept or new; undefined once the pool is closed. */
  take({ isFresh, connectTimeoutMs = this.#connectTimeoutMs }: Call): Connection | undefined {
    if (this.#isClosed) return undefined
    const kept = isFresh ? undefined : this.#takeKept()
    if (kept) return kept
    const connection = new Connection(this.#origin, this, connectTimeoutMs)
    this.#all.add(connection)
    return connection
  }

  #takeKept(): Connection | undefined {
    const now = performance.now()
    for (let kept = this.#idle.pop(); kept; kept = this.#idle.pop()) {
      if (kept.keptUntilMs > now) return kept
      kept.close()
    }
    return undefined
  }

  keep(connection: Connection, forMs: number): void {
    connection.keptUntilMs = performance.now() + forMs
    this.#idle.push(connection)
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref()
  }

  forget(connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#idle.lastIndexOf(connection)
    if (at !== -1) this.#idle.splice(at, 1)
  }

  close(): void {
    this.#isClosed = true
    clearInterval(this.#sweeper)
    for (const connection of [...this.#all]) connection.close()
  }

  #sweep(): void {
    const now = performance.now()
    for (const kept of this.#idle.filter(({ keptUntilMs }) => keptUntilMs <= now)) kept.close()
    if (this.#idle.length > 0) return
    clearInterval(this.#sweeper)
    this.#sweeper = undefined
  }
}

/** One connection: one call at a time, kept for the next one when the answer ended as it should. */
class Connection {
  readonly #opened: { destroy(): void }
  /** It is there once it may be written to. */
  #socket: Socket | undefined
  readonly #origin: Origin
  readonly #pool: Pool
  #call: Call | undefined
  /** When the pool lets it go, on the monotonic clock. */
  keptUntilMs = 0

  constructor(origin: Origin, pool: Pool, timeoutMs: number) {
    this.#origin = origin
    this.#pool = pool
    const onread: OnReadOpts = {
      buffer: pool.scratch,
      // They must be used or copied before this returns.
      callback: (length, bytes) => {
        this.#read(Buffer.from(bytes.buffer, bytes.byteOffset, length))
        return true
      },
    }
    this.#opened = openSocket(origin, {
      timeoutMs,
      onread,
      ready: (socket) => {
        this.#socket = socket
        this.#call?.send(socket, this.#origin.authority, false)
      },
      hungUp: () => this.#hungUp(),
      closed: (reason) => this.#closed(reason),
    })
  }

  /** The next call; only when there is none. Its request leaves when the connection stands. */
  carry(call: Call): void {
    this.#call = call
    if (this.#socket) call.send(this.#socket, this.#origin.authority, true)
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
    this.#pool.forget(this)
    this.#opened.destroy()
  }

  #read(bytes: Buffer): void {
    const call = this.#call
    // Bytes that nobody has asked for: whatever they are, the next answer would be read wrongly.
    if (!call) return this.close()
    const keepMs = call.read(bytes)
    if (!call.isOver()) return
    if (this.#call === call) this.#call = undefined
    const socket = this.#socket
    if (!keepMs || !socket || socket.destroyed || socket.errored) return this.close()
    if (socket.isPaused()) socket.resume()
    this.#pool.keep(this, keepMs)
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
    this.#pool.forget(this)
    if (!call || call.isOver()) return
    call.fail(reason ?? new UpstreamError('CLOSED_EARLY', 'The connection was lost'))
  }
}
