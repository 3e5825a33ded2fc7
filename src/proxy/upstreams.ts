import { Agent, Pool } from 'undici'

export interface UpstreamTimeouts {
  connectTimeoutMs: number
  /** Until the provider's first byte; `idleTimeoutMs` between two. */
  firstByteTimeoutMs: number
  idleTimeoutMs: number
  totalTimeoutMs: number
}

/** Kept connections to the providers, one pool per origin. */
export interface Upstreams {
  pool(origin: string): Pool
  close(): Promise<void>
}

/** An idle connection is dropped before most servers drop it, so that no request meets a closing one. */
const KEEP_ALIVE_MS = 4_000

const options = (connectTimeoutMs: number) => ({
  // Certificates are verified (undici's default, stated because the proxy packages' default is the opposite).
  connect: { timeout: connectTimeoutMs, rejectUnauthorized: true },
  // No cap: with one, a stream waits for another stream's end.
  connections: null,
  keepAliveTimeout: KEEP_ALIVE_MS,
  pipelining: 1,
  maxHeaderSize: 16 * 1024,
})

/** To be closed by whoever opened it; running calls are aborted then. */
export const openUpstreams = (connectTimeoutMs: number): Upstreams => {
  const pools = new Map<string, Pool>()
  return {
    pool(origin) {
      const known = pools.get(origin)
      if (known) return known
      const pool = new Pool(origin, options(connectTimeoutMs))
      pools.set(origin, pool)
      return pool
    },
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.destroy()))
    },
  }
}

/** The same rules for `@fastify/http-proxy`, whose own agent would verify no certificate. */
export const openVerifyingAgent = (timeouts: UpstreamTimeouts): Agent =>
  new Agent({
    ...options(timeouts.connectTimeoutMs),
    headersTimeout: timeouts.firstByteTimeoutMs,
    bodyTimeout: timeouts.idleTimeoutMs,
  })
