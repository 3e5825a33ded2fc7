const FIRST_KEPT_BYTES = 256
const EMPTY: Buffer = Buffer.alloc(0)

/** The begun event, copied into a buffer that doubles: tiny chunks cost neither quadratic time nor an object each. */
export function createHeldBytes(maxBytes: number) {
  let store = EMPTY
  let used = 0

  function add(chunk: Buffer, start: number, end: number) {
    const need = used + end - start
    if (need > maxBytes) throw tooLarge(maxBytes)
    if (need > store.length) {
      const larger = Buffer.allocUnsafe(Math.max(FIRST_KEPT_BYTES, need * 2))
      store.copy(larger, 0, 0, used)
      store = larger
    }
    chunk.copy(store, used, start, end)
    used = need
  }

  return {
    bytes: () => used,
    bytesSoFar: () => (used === 0 ? EMPTY : Buffer.from(store.subarray(0, used))),
    keep(chunk: Buffer, start: number) {
      if (start < chunk.length) add(chunk, start, chunk.length)
    },
    take(chunk: Buffer, start: number, end: number): Buffer {
      if (used === 0) {
        if (end - start > maxBytes) throw tooLarge(maxBytes)
        return start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end)
      }
      add(chunk, start, end)
      const event = store.subarray(0, used)
      store = EMPTY
      used = 0
      return event
    },
  }
}

const tooLarge = (maxBytes: number) =>
  Object.assign(new Error(`An event is longer than ${maxBytes} bytes`), { code: 'EVENT_TOO_LARGE' })
