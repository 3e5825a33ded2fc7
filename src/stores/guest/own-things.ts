import type { Belongings, Mark } from '../contracts/guests.ts'
import type { KeyedRequest } from '../contracts/idempotency.ts'
import type { Place } from '../contracts/places.ts'

/** What this server has with the one that has the folder, as far as it was told. */
export class OwnThings {
  readonly #holds = new Map<number, Mark | undefined>()
  readonly #claims = new Map<string, KeyedRequest>()
  readonly #places = new Map<string, Place>()

  held(holdId: number): void {
    this.#holds.set(holdId, undefined)
  }

  /** The first mark stands. */
  marked(holdId: number, mark: Mark): boolean {
    if (!this.#holds.has(holdId) || this.#holds.get(holdId) !== undefined) return false
    this.#holds.set(holdId, mark)
    return true
  }

  settled(holdId: number): void {
    this.#holds.delete(holdId)
  }

  claimed(claimId: string, request: KeyedRequest): void {
    this.#claims.set(claimId, request)
  }

  ended(claimId: string): void {
    this.#claims.delete(claimId)
  }

  entered(place: Place): void {
    this.#places.set(place.id, place)
  }

  left({ id }: Place): void {
    this.#places.delete(id)
  }

  all(): Belongings {
    return {
      holds: Array.from(this.#holds, ([id, mark]) => ({ id, mark })),
      claims: Array.from(this.#claims, ([id, request]) => ({ id, request })),
      places: [...this.#places.values()],
    }
  }
}
