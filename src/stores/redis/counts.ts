import type { SharedCounts } from '../contracts/shared-counts.ts'
import { readNumbers, type Tools } from './tools.ts'

/** Windows that all replicas count in, by the clock of Redis. */
export const openCounts = ({ link, scripts, keys }: Tools): SharedCounts => ({
  count: async (tokenId, window) => {
    const answer = await link.run(scripts.count, [keys.window(`${window}:${tokenId}`)], [window])
    const [count = 0, endsInMs = 0] = readNumbers(answer)
    return { count, endsInMs }
  },
})
