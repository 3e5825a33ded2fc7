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

export const createRetryBudget = (): RetryBudget => {
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
