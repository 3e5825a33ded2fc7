import type { FastifyRateLimitStore, FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import type { SharedCounts } from '../stores/contracts/places.ts'

type Answer = Parameters<FastifyRateLimitStore['incr']>[1]

const MINUTE_MS = 60_000

/** Windows that all replicas count in. A store that does not answer refuses the request: nobody passes uncounted. */
export const sharedWindows = (counts: SharedCounts): FastifyRateLimitStoreCtor =>
  class SharedWindows implements FastifyRateLimitStore {
    incr(tokenId: string, answer: Answer, timeWindowMs: number): void {
      counts.count(tokenId, timeWindowMs === MINUTE_MS ? 'minute' : 'day').then(
        ({ count, endsInMs }) => answer(null, { current: count, ttl: endsInMs }),
        (error: Error) => answer(error),
      )
    }

    child(): FastifyRateLimitStore {
      return this
    }
  }
