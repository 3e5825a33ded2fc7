import type { Place } from '../contracts/places.ts'

/** The running requests of tokens that may only have so many; in memory: they die with the process. */
export interface Places {
  enter(tokenId: string, most: number): Place | undefined
  leave(place: Place): void
}

export function createPlaces(): Places {
  const taken = new Map<string, Set<string>>()
  let count = 0
  return {
    enter: (tokenId, most) => {
      const running = taken.get(tokenId) ?? new Set()
      if (running.size >= most) return undefined
      const id = String(++count)
      taken.set(tokenId, running.add(id))
      return { id, tokenId }
    },
    leave: ({ id, tokenId }) => {
      const running = taken.get(tokenId)
      if (running?.delete(id) && running.size === 0) taken.delete(tokenId)
    },
  }
}
