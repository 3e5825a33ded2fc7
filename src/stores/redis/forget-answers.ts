import { KEY_MEMORY_MS } from '../contracts/idempotency.ts'
import type { Tools } from './tools.ts'

const FORGET_EVERY_MS = 600_000
const MOST_AT_ONCE = 500
/** It is as long as a claim outlives its day (`claim.lua`). */
const MARGIN_MS = 3_600_000

/** Takes what has expired off the sums of kept answers, token by token; ends with what it returns. */
export function forgetAnswers(tools: Tools): () => void {
  const timer = setInterval(() => {
    if (tools.link.isReady()) forgetAll(tools, Date.now()).catch(() => undefined)
  }, FORGET_EVERY_MS).unref()
  return () => clearInterval(timer)
}

/** What Redis being away keeps from being done is done the next time. */
export async function forgetAll({ link, scripts, keys }: Tools, now: number): Promise<void> {
  const from = now - KEY_MEMORY_MS - MARGIN_MS
  const sums = [keys.answerSums, keys.answerTotal]
  for (const tokenId of await link.read((client) => client.zrange(keys.answerSums, '0', '-1'))) {
    const args = [tokenId, from, keys.claim(tokenId, ''), MOST_AT_ONCE]
    while ((await link.run(scripts.forget, [keys.answers(tokenId), ...sums], args)) === MOST_AT_ONCE);
  }
}
