import { readJwks, type VerifyKey } from '../config/jwt-keys.ts'
import { asError, storeUnavailable } from '../errors.ts'

export interface JwksOptions {
  url: string
  /** The text behind the URL; rejects for what is no 200, too large or too late. */
  fetchText(url: string): Promise<string>
  /** Told when the set could not be fetched, and with nothing when it can be again. */
  report?: ((problem: Error | undefined) => void) | undefined
  now(): number
}

/** From then on it is fetched again while the one from before serves. */
const FRESH_MS = 5 * 60_000
/** From then on who comes waits for the next one: a key that was withdrawn lets nobody in for longer. */
const MOST_AGE_MS = 10 * 60_000
/** So often a set that is there is asked for again, be it for a `kid` that nobody knows. */
const AGAIN_MS = 10_000
/** So often while there is none at all. */
const NONE_AGAIN_MS = 1_000

/** The public keys behind a URL, as they were fetched last. While their server is away those from before stay. */
export class Jwks {
  readonly url: string
  readonly #options: JwksOptions
  #keys: readonly VerifyKey[] = []
  /** The set as text: the same one again changes nothing. */
  #text: string | undefined
  #fetchedAt = 0
  #triedAt = Number.NEGATIVE_INFINITY
  #fetching: Promise<void> | undefined
  #isFailing = false
  #generation = 0

  constructor(options: JwksOptions) {
    this.url = options.url
    this.#options = options
  }

  get keys(): readonly VerifyKey[] {
    return this.#keys
  }

  /** Another number with each set that differs from the one before. */
  get generation(): number {
    return this.#generation
  }

  /** Resolves when there is a set to go by; undefined where there is one. Throws where there is none and its server was asked just now. */
  ready(): Promise<void> | undefined {
    if (this.#text === undefined) return this.#first()
    const age = this.#options.now() - this.#fetchedAt
    if (age < FRESH_MS) return undefined
    const fetching = this.again()
    return age < MOST_AGE_MS ? undefined : fetching
  }

  /** Asks for the set again, unless that was done a moment ago. It never rejects. */
  again(): Promise<void> | undefined {
    if (this.#fetching) return this.#fetching
    return this.#options.now() - this.#triedAt < AGAIN_MS ? undefined : this.#fetch()
  }

  async #first(): Promise<void> {
    if (this.#fetching || this.#options.now() - this.#triedAt >= NONE_AGAIN_MS)
      await (this.#fetching ?? this.#fetch())
    if (this.#text === undefined)
      throw storeUnavailable(
        'The keys that JWTs are checked by cannot be fetched right now. Try again in a moment.',
      )
  }

  #fetch(): Promise<void> {
    this.#triedAt = this.#options.now()
    this.#fetching = this.#ask().finally(() => {
      this.#fetching = undefined
    })
    return this.#fetching
  }

  async #ask(): Promise<void> {
    const { url, fetchText, now, report } = this.#options
    const askedAt = now()
    try {
      const text = await fetchText(url)
      if (text !== this.#text) {
        this.#keys = readJwks(text)
        this.#text = text
        this.#generation += 1
      }
      this.#fetchedAt = askedAt
      if (this.#isFailing) report?.(undefined)
      this.#isFailing = false
    } catch (error) {
      if (!this.#isFailing) report?.(asError(error))
      this.#isFailing = true
    }
  }
}
