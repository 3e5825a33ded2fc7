import { Cluster } from 'ioredis'
import { KEY_MEMORY_MS } from '../contracts/idempotency.ts'
import type { Context } from './context.ts'

const LOOKED_AT_ONCE = 500
/** No answer that is kept in Redis today is so large. */
const OLD_BYTES = 64 * 1024

/**
 * Older gateways kept answers up to 1 MiB in Redis, for two days and uncounted. They are given again as long as there
 * is room for them; where memory is short they go, and their keys stay used. Not in a Cluster, where no look around
 * finds the keys of one slot alone.
 */
export async function dropOldAnswers({ link, keys }: Context): Promise<void> {
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

const FORGET_EVERY_MS = 600_000
const MOST_AT_ONCE = 500
/** It is as long as a claim outlives its day (`claim.lua`). */
const MARGIN_MS = 3_600_000

/** Takes what has expired off the sums of kept answers, token by token; ends with what it returns. */
export function forgetAnswers(context: Context): () => void {
  const timer = setInterval(() => {
    if (context.link.isReady()) forgetAll(context, Date.now()).catch(() => undefined)
  }, FORGET_EVERY_MS).unref()
  return () => clearInterval(timer)
}

/** What Redis being away keeps from being done is done the next time. */
export async function forgetAll({ link, scripts, keys }: Context, now: number): Promise<void> {
  const from = now - KEY_MEMORY_MS - MARGIN_MS
  const sums = [keys.answerSums, keys.answerTotal]
  for (const tokenId of await link.read((client) => client.zrange(keys.answerSums, '0', '-1'))) {
    const args = [tokenId, from, keys.claim(tokenId, ''), MOST_AT_ONCE]
    while ((await link.run(scripts.forget, [keys.answers(tokenId), ...sums], args)) === MOST_AT_ONCE);
  }
}
