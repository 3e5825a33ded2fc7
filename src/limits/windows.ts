import fastifyRateLimit, {
  type FastifyRateLimitStore,
  type FastifyRateLimitStoreCtor,
  type RateLimitOptions,
} from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'

interface Window {
  count: number
  endsAt: number
}

type Answer = (failure: Error | null, result?: { current: number; ttl: number }) => void

const FIRST_SWEEP_KEYS = 10_000
/** Against floods of new addresses; far above the number of tokens. */
const MOST_KEYS = 1_000_000

/**
 * The package's own store forgets keys above 5,000, and hands all who ask in the same moment one shared object, so
 * that each reads the count of the last and all are refused. This one keeps every running window.
 */
const buildStore = (now: () => number): FastifyRateLimitStoreCtor =>
  class WindowStore implements FastifyRateLimitStore {
    readonly #windows = new Map<string, Window>()
    #sweepAbove = FIRST_SWEEP_KEYS

    incr(key: string, answer: Answer, timeWindowMs: number): void {
      const at = now()
      const running = this.#windows.get(key)
      const window = running && running.endsAt > at ? running : this.#open(key, at, timeWindowMs)
      window.count++
      answer(null, { current: window.count, ttl: window.endsAt - at })
    }

    /** The options of `createRateLimit`, which may name a store of their own. */
    child(options: object): FastifyRateLimitStore {
      const { store: Store = WindowStore }: RateLimitOptions = options
      return new Store({})
    }

    #open(key: string, at: number, timeWindowMs: number): Window {
      if (this.#windows.size >= this.#sweepAbove) this.#sweep(at)
      const window = { count: 0, endsAt: at + timeWindowMs }
      this.#windows.set(key, window)
      return window
    }

    #sweep(at: number): void {
      for (const [key, { endsAt }] of this.#windows) if (endsAt <= at) this.#windows.delete(key)
      for (const key of this.#windows.keys()) {
        if (this.#windows.size < MOST_KEYS) break
        this.#windows.delete(key)
      }
      this.#sweepAbove = Math.min(MOST_KEYS, Math.max(FIRST_SWEEP_KEYS, this.#windows.size * 2))
    }
  }

/** Makes `app.createRateLimit` count in windows of our own; the first to ask for it in an app decides the clock. */
export const registerWindows = async (app: FastifyInstance, now: () => number): Promise<void> => {
  if (app.hasDecorator('createRateLimit')) return
  await app.register(fastifyRateLimit, { global: false, store: buildStore(now) })
}
