import type { Place } from '../contracts/token-store.ts'
import type { Later } from './later.ts'
import type { Tools } from './tools.ts'

/** How many of a token's requests run, over all replicas. */
export function openPlaces({ link, scripts, keys, owner }: Tools, later: Later, deadAfterMs: number) {
  let nextId = 1
  const free = ({ id, tokenId }: Place) =>
    later.do(() => link.read((client) => client.hdel(keys.places(tokenId), id)))
  return {
    enter: async (tokenId: string, most: number): Promise<Place | undefined> => {
      const place = { id: `${owner}:${nextId++}`, tokenId }
      const isSent = link.isReady()
      try {
        const args = [place.id, most, deadAfterMs]
        const isTaken = await link.run(scripts.enter, [keys.places(tokenId), keys.replicas], args)
        return isTaken === 1 ? place : undefined
      } catch (error) {
        // It may be taken all the same.
        if (isSent) void free(place)
        throw error
      }
    },
    leave: (place: Place): void => {
      void free(place)
    },
  }
}
