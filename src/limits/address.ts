import type { CreateRateLimitOptions } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { rateLimited } from '../errors.ts'
import { registerWindows } from './windows.ts'

export interface AddressLimitOptions {
  /** Requests without a valid token, per client address (IPv6: per /64): refused ones, and those that need none. */
  failuresPerMinute: number
}

const MINUTE_MS = 60_000

/**
 * For `client-auth`'s `onRefused` (guessing tokens becomes 429) and for doors that ask for no token: one count for both.
 * Valid tokens of the same address are not touched.
 */
export const addressLimit = async (
  app: FastifyInstance,
  { failuresPerMinute }: AddressLimitOptions,
): Promise<(request: FastifyRequest) => Promise<void>> => {
  await registerWindows(app, Date.now)
  const options: CreateRateLimitOptions = {
    max: failuresPerMinute,
    timeWindow: MINUTE_MS,
    ipv6Subnet: 64,
  }
  const count = app.createRateLimit(options)
  return async (request) => {
    const state = await count(request)
    if (state.isAllowed || !state.isExceeded) return
    throw rateLimited('Too many requests without a valid token. Wait as long as "Retry-After" says.', {
      retryAfterMs: Math.max(1, state.ttl),
    })
  }
}
