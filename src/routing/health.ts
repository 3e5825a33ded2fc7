/** Failures in a row before a provider rests. */
const TOLERATED_FAILURES = 5
const FIRST_REST_MS = 1_000
const LONGEST_REST_MS = 30_000
/** A provider's own `Retry-After` is believed up to here. */
const LONGEST_ASKED_REST_MS = 300_000
/** Wildcard models make names without end: the oldest are forgotten. */
const MAX_NAMES = 10_000

interface Standing {
  failures: number
  restMs: number
  until: number
}

/** Which providers rest after failing, and until when; one per app. A name is `provider/model`. */
export interface ProviderHealth {
  isResting(name: string, now: number): boolean
  /** Milliseconds until it may be asked again; 0 when it may be asked now. */
  restsFor(name: string, now: number): number
  /** To be called right before asking. A provider whose rest is over is probed by one request alone. */
  admit(name: string, now: number): boolean
  /** Its rest is over, and nothing has come of it yet: the next ask is a probe. */
  isDue(name: string, now: number): boolean
  /** `askedRestMs`: what the provider's own `Retry-After` said. */
  failed(name: string, now: number, askedRestMs?: number): void
  succeeded(name: string): void
}

export const createProviderHealth = (): ProviderHealth => {
  const standings = new Map<string, Standing>()

  const standingOf = (name: string): Standing => {
    const known = standings.get(name)
    if (known) return known
    if (standings.size >= MAX_NAMES) {
      for (const oldest of standings.keys()) {
        standings.delete(oldest)
        break
      }
    }
    const fresh = { failures: 0, restMs: 0, until: 0 }
    standings.set(name, fresh)
    return fresh
  }

  return {
    // Nearly always nobody has failed: a name that was just put together is not even hashed then.
    isResting: (name, now) => standings.size > 0 && (standings.get(name)?.until ?? 0) > now,
    restsFor: (name, now) => Math.max(0, (standings.get(name)?.until ?? 0) - now),
    admit(name, now) {
      const standing = standings.size > 0 ? standings.get(name) : undefined
      if (!standing || standing.until === 0) return true
      if (standing.until > now) return false
      standing.until = now + Math.max(standing.restMs, FIRST_REST_MS)
      return true
    },
    isDue(name, now) {
      const until = standings.get(name)?.until ?? 0
      return until > 0 && until <= now
    },
    failed(name, now, askedRestMs) {
      const standing = standingOf(name)
      standing.failures += 1
      if (standing.failures >= TOLERATED_FAILURES) {
        standing.restMs = Math.min(LONGEST_REST_MS, Math.max(FIRST_REST_MS, standing.restMs * 2))
        standing.until = now + standing.restMs
      }
      if (askedRestMs)
        standing.until = Math.max(standing.until, now + Math.min(askedRestMs, LONGEST_ASKED_REST_MS))
    },
    succeeded(name) {
      if (standings.size > 0) standings.delete(name)
    },
  }
}
