import type { SharedCounts } from '../shared-counts.ts'
import { type Books, readNumbers } from './books.ts'

/** Windows that all replicas count in, by the clock of Redis. */
export const openCounts = ({ link, scripts, keys }: Books): SharedCounts => ({
  count: async (tokenId, window) => {
    const answer = await link.run(scripts.count, [keys.window(`${window}:${tokenId}`)], [window])
    const [count = 0, endsInMs = 0] = readNumbers(answer)
    return { count, endsInMs }
  },
})
