import { Cluster } from 'ioredis'
import type { Tools } from './tools.ts'

const LOOKED_AT_ONCE = 500
/** No answer that is kept in Redis today is so large. */
const OLD_BYTES = 64 * 1024

/**
 * Older gateways kept answers up to 1 MiB in Redis, for two days and uncounted. They are given again as long as there
 * is room for them; where memory is short they go, and their keys stay used. Not in a Cluster, where no look around
 * finds the keys of one slot alone.
 */
export async function dropOldAnswers({ link, keys }: Tools): Promise<void> {
  let cursor = '0'
  do {
    const names = await link.read(async (client): Promise<string[]> => {
      if (client instanceof Cluster) return []
      const [next, found] = await client.scan(
        cursor,
        'MATCH',
        `${keys.claim('*', '*')}`,
        'COUNT',
        LOOKED_AT_ONCE,
      )
      cursor = next
      return found
    })
    for (const name of names) {
      const bytes = await link.read((client) => client.hstrlen(name, 'answer'))
      if (bytes > OLD_BYTES) await link.read((client) => client.hdel(name, 'answer'))
    }
  } while (cursor !== '0')
}
