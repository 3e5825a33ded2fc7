import type { TargetCheck } from '../../config/catalog/service-routes.ts'

/** A GET of the operator's, over the way out of all requests: its status, or a rejection. */
export type Get = (ask: { url: URL; timeoutMs: number }) => Promise<number>

export interface CheckNeeds {
  get: Get
  /** A clock that never goes back. */
  now(): number
  /** 0 to 1. */
  random(): number
}

/** The first look comes soon, but those of many targets and replicas not at once. */
const FIRST_LOOK_MS = 1_000
/** Pauses are longer or shorter by up to this part. */
const JITTER = 0.1

/**
 * Looks at one target by its path, and again a pause after each look has ended: a slow target is never asked twice at
 * once. A target counts as up until so many looks in a row failed. Whoever opened it closes it.
 */
export class Check {
  readonly path: string
  isDown = false
  /** When it came to be up or down. */
  sinceMs: number
  /** When the last look ended, and why it failed. */
  lastMs: number | undefined
  lastReason: string | undefined
  readonly #url: URL
  readonly #rules: TargetCheck
  readonly #needs: CheckNeeds
  readonly #onUp: () => void
  /** So many looks in a row said the opposite of `isDown`. */
  #against = 0
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(origin: string, rules: TargetCheck, needs: CheckNeeds & { onUp(): void }) {
    this.path = rules.path
    this.sinceMs = needs.now()
    this.#url = new URL(rules.path, origin)
    this.#rules = rules
    this.#needs = needs
    this.#onUp = needs.onUp
    this.#wait(Math.min(rules.everyMs, FIRST_LOOK_MS) * needs.random())
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(() => void this.#look(), ms).unref()
  }

  async #look(): Promise<void> {
    const { everyMs, timeoutMs } = this.#rules
    const reason = await this.#needs.get({ url: this.#url, timeoutMs }).then(
      (status) => (status >= 200 && status < 400 ? undefined : String(status)),
      (error: unknown) => reasonOf(error),
    )
    if (this.#isClosed) return
    this.#judge(reason)
    this.#wait(everyMs * (1 + JITTER * (2 * this.#needs.random() - 1)))
  }

  #judge(reason: string | undefined): void {
    this.lastMs = this.#needs.now()
    this.lastReason = reason
    this.#against = this.isDown === (reason === undefined) ? this.#against + 1 : 0
    if (this.#against < (this.isDown ? this.#rules.successes : this.#rules.failures)) return
    this.#against = 0
    this.isDown = !this.isDown
    this.sinceMs = this.lastMs
    if (!this.isDown) this.#onUp()
  }
}

/** The code alone: texts of errors name addresses. */
function reasonOf(error: unknown): string {
  const code: unknown = error instanceof Error ? (Reflect.get(error, 'code') ?? error.name) : undefined
  return typeof code === 'string' ? code : 'failed'
}
