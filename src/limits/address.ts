import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type GatewayError, rateLimited } from '../errors.ts'
import { MINUTE_MS, Windows } from './windows.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The error that is answered: a refusal before anybody knew whose request it was may be one too many. */
    judgeRefusal?(error: unknown, request: FastifyRequest): unknown
  }
}

export interface AddressLimitOptions {
  /** Requests without a valid token, per client address: refused ones, and those that need none. */
  failuresPerMinute: number
  /** IPv6 clients count together by so many first bits. */
  ipv6PrefixBits: number
}

function isUpgrade({ raw }: FastifyRequest): boolean {
  return Reflect.get(raw, 'upgrade') === true
}

function isOurs(error: unknown): boolean {
  const status: unknown = error instanceof Error ? Reflect.get(error, 'statusCode') : undefined
  return typeof status !== 'number' || status >= 500
}

/**
 * Limits what one address may try: it serves `client-auth`'s `onRefused` (guessing tokens becomes 429), doors that ask
 * for no token, and handshakes that are refused before anybody asked for one, with one count for all. Valid tokens of
 * the same address are not touched.
 */
export async function addressLimit(
  app: FastifyInstance,
  { failuresPerMinute, ipv6PrefixBits }: AddressLimitOptions,
): Promise<(request: FastifyRequest) => Promise<void>> {
  const windows = new Windows()
  const counted = new WeakSet<FastifyRequest>()
  const count = (request: FastifyRequest): GatewayError | undefined => {
    if (counted.has(request)) return undefined
    counted.add(request)
    const { current, ttl } = windows.count(normalizeIP(request.ip, ipv6PrefixBits), MINUTE_MS)
    if (current <= failuresPerMinute) return undefined
    return rateLimited('Too many requests without a valid token. Wait as long as "Retry-After" says.', {
      retryAfterMs: Math.max(1, ttl),
    })
  }
  app.decorate('judgeRefusal', (error: unknown, request: FastifyRequest) => {
    const isKnown = request.token !== undefined || request.caller?.kind === 'person'
    if (!isUpgrade(request) || isKnown) return error
    const tooMany = count(request)
    // What is no fault of the client's stays what it is.
    return tooMany && !isOurs(error) ? tooMany : error
  })
  return async (request) => {
    const tooMany = count(request)
    if (tooMany) throw tooMany
  }
}
