import { type Place, ROUTE_KEY, type SharedCounts } from '../contracts/places.ts'
import { type Context, readNumbers } from './context.ts'
import type { Retries } from './link.ts'

/** How many of a token's requests run, over all replicas. */
export function openPlaces({ link, scripts, keys, owner }: Context, retries: Retries, deadAfterMs: number) {
  let nextId = 1
  const free = ({ id, tokenId }: Place) =>
    retries.do(() => link.read((client) => client.hdel(keys.places(tokenId), id)))
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

/** Windows that all replicas count in, by the clock of Redis. */
export function openCounts({ link, scripts, keys }: Context): SharedCounts {
  return {
    count: async (tokenId, window) => {
      const kind = tokenId.startsWith(ROUTE_KEY) ? 'route' : 'token'
      const answer = await link.run(scripts.count, [keys.window(`${window}:${tokenId}`)], [window, kind])
      const [count = 0, endsInMs = 0] = readNumbers(answer)
      return { count, endsInMs }
    },
  }
}
