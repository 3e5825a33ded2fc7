import type { Person } from './caller.ts'

/** Somebody who was verified, and by what. */
export interface Verified {
  person: Person
  /** The JWKS it was checked by; undefined: a key of the settings. */
  generation: number | undefined
  /** As long as its token. */
  characters: number
}

/** Together: what is kept of a token takes about five times as much. */
const MOST_CHARACTERS = 4 * 1024 * 1024

/** Who was verified, by the hash of the token: never who was refused. */
export class VerifiedJwts {
  readonly #kept = new Map<string, Verified>()
  readonly #most: number
  #characters = 0

  constructor(most = MOST_CHARACTERS) {
    this.#most = most
  }

  get(hash: string): Verified | undefined {
    return this.#kept.get(hash)
  }

  set(hash: string, verified: Verified): void {
    this.delete(hash)
    this.#kept.set(hash, verified)
    this.#characters += verified.characters
    // The oldest first: who is there still is verified once more.
    for (const oldest of this.#kept.keys()) {
      if (this.#characters <= this.#most) break
      this.delete(oldest)
    }
  }

  delete(hash: string): void {
    this.#characters -= this.#kept.get(hash)?.characters ?? 0
    this.#kept.delete(hash)
  }
}
