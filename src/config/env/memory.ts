import { totalmem } from 'node:os'

/** What bodies may take of the memory there is: the rest is the runtime's, the answers' and what is not collected yet. */
const SHARE = 1 / 4
/** In less than this, two large bodies would not fit at once. */
const LEAST_BYTES = 32 * 1024 * 1024
const MOST_BYTES = 4 * 1024 ** 3

/** A share of the container's limit, where there is one; else of the machine's memory. */
export const usualBodyMemory = (limit = process.constrainedMemory(), total = totalmem()): number => {
  const memory = limit > 0 ? Math.min(limit, total) : total
  return Math.floor(Math.min(MOST_BYTES, Math.max(LEAST_BYTES, memory * SHARE)))
}
