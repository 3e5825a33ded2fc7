/** Failures in a row before a provider rests. */
const TOLERATED_FAILURES = 5
const FIRST_REST_MS = 1_000
const LONGEST_REST_MS = 30_000
/** A provider's own `Retry-After` is believed up to here. */
const LONGEST_ASKED_REST_MS = 300_000
/** Wildcard models make names without end: the oldest are forgotten. */
const MAX_NAMES = 10_000

interface ProviderState {
  failures: number
  restMs: number
  until: number
}

/** Which providers rest after failing, and until when; one per app. A name is `provider/model`. */
export interface ProviderHealth {
  isResting(name: string, now: number): boolean
  /** The milliseconds until it may be asked again; 0 when it may be asked now. */
  restsFor(name: string, now: number): number
  /** To be called right before asking. A provider whose rest is over is probed by one request alone. */
  admit(name: string, now: number): boolean
  /** Its rest is over, and nothing has come of it yet: the next ask is a probe. */
  isDue(name: string, now: number): boolean
  /** `askedRestMs`: what the provider's own `Retry-After` said. */
  failed(name: string, now: number, askedRestMs?: number): void
  succeeded(name: string): void
}

export function createProviderHealth(): ProviderHealth {
  const records = new Map<string, ProviderState>()

  const recordOf = (name: string): ProviderState => {
    const known = records.get(name)
    if (known) return known
    if (records.size >= MAX_NAMES) {
      for (const oldest of records.keys()) {
        records.delete(oldest)
        break
      }
    }
    const fresh = { failures: 0, restMs: 0, until: 0 }
    records.set(name, fresh)
    return fresh
  }

  return {
    // Nearly always nobody has failed: a name that was just put together is not even hashed then.
    isResting: (name, now) => records.size > 0 && (records.get(name)?.until ?? 0) > now,
    restsFor: (name, now) => Math.max(0, (records.get(name)?.until ?? 0) - now),
    admit(name, now) {
      const record = records.size > 0 ? records.get(name) : undefined
      if (!record || record.until === 0) return true
      if (record.until > now) return false
      record.until = now + Math.max(record.restMs, FIRST_REST_MS)
      return true
    },
    isDue(name, now) {
      const until = records.get(name)?.until ?? 0
      return until > 0 && until <= now
    },
    failed(name, now, askedRestMs) {
      const record = recordOf(name)
      record.failures += 1
      if (record.failures >= TOLERATED_FAILURES) {
        record.restMs = Math.min(LONGEST_REST_MS, Math.max(FIRST_REST_MS, record.restMs * 2))
        record.until = now + record.restMs
      }
      if (askedRestMs)
        record.until = Math.max(record.until, now + Math.min(askedRestMs, LONGEST_ASKED_REST_MS))
    },
    succeeded(name) {
      if (records.size > 0) records.delete(name)
    },
  }
}

/** Retries that a quiet gateway may make at once. */
const BURST = 10
/** What every request adds: in a storm, traffic to providers grows by no more than this share. */
const SHARE = 0.2

/** Keeps failover from multiplying traffic when many providers fail at once; one per app. */
export interface RetryBudget {
  /** To be called once for every request. */
  earn(): void
  /** Whether `spend` would say yes. */
  hasLeft(): boolean
  /** To be called once for every attempt after a request's first; false: do not make it. */
  spend(): boolean
}

export function createRetryBudget(): RetryBudget {
  let left = BURST
  return {
    earn() {
      if (left < BURST) left = Math.min(BURST, left + SHARE)
    },
    hasLeft: () => left >= 1,
    spend() {
      if (left < 1) return false
      left -= 1
      return true
    },
  }
}
