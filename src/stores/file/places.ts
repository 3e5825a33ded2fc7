import { randomBytes } from 'node:crypto'
import type { Place, Places } from '../contracts/places.ts'

export interface KeptPlaces extends Places {
  /** A guest has it since before this process was. */
  keep(place: Place): void
}

/** Places in memory: they die with the process. */
export function createPlaces(): KeptPlaces {
  const taken = new Map<string, Set<string>>()
  // No two servers of the folder give the same.
  const prefix = randomBytes(6).toString('base64url')
  let count = 0
  return {
    enter: async (tokenId, most) => {
      const running = taken.get(tokenId) ?? new Set()
      if (running.size >= most) return undefined
      const id = `${prefix}${++count}`
      taken.set(tokenId, running.add(id))
      return { id, tokenId }
    },
    leave: ({ id, tokenId }) => {
      const running = taken.get(tokenId)
      if (running?.delete(id) && running.size === 0) taken.delete(tokenId)
    },
    keep: ({ id, tokenId }) => {
      taken.set(tokenId, (taken.get(tokenId) ?? new Set()).add(id))
    },
  }
}
