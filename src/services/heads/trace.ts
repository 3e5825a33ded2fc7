import { randomFillSync } from 'node:crypto'

const CURRENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
/** A later version may say more behind the four fields that this one has. */
const LATER = /^(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/

/** Whether others can go on with it (W3C Trace Context, section 3.2). */
export function isTraceparent(value: string): boolean {
  return CURRENT.test(value) || LATER.test(value)
}

const POOL_BYTES = 24 * 128
const ID_BYTES = 24

/**
 * Makes a `traceparent` for each request that brings none. It says "sampled": services that follow what they are told would
 * record nothing otherwise, which is not what they do when they are asked directly.
 */
export function openTraceIds(fill: (bytes: Buffer) => Buffer = randomFillSync): () => string {
  const pool = Buffer.alloc(POOL_BYTES)
  let used = POOL_BYTES
  return () => {
    if (used === POOL_BYTES) {
      fill(pool)
      used = 0
    }
    const trace = pool.toString('hex', used, used + 16)
    const parent = pool.toString('hex', used + 16, used + ID_BYTES)
    used += ID_BYTES
    return `00-${trace}-${parent}-01`
  }
}
