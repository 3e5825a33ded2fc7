import { textOfEvents } from './answer-text.ts'
import { readStreamInput, readStreamUsage } from './usage.ts'
import type { Usage, UsageKind } from './usage-kinds.ts'

const KEPT_BYTES = 16 * 1024
const FIRST_BYTES = 1024
/** Above Node's pool a chunk has a buffer of its own: keeping it costs no more than a copy. */
const LARGE_BYTES = 4096

/** Reads along with a stream: keeps its first and its last 16 KiB, and looks into them only when asked. */
export interface StreamMeter {
  push(chunk: Buffer): void
  bytes(): number
  tail(): Buffer
  usage(): Usage | undefined
  /** The input alone, which an Anthropic stream names at its start; its end may never come. */
  startInput(): Usage | undefined
  /** The text of the kept bytes, and which share of all bytes these are. */
  outputText(): { text: string; share: number }
}

/** Small chunks are copied: a kept reference costs more memory than the few hundred bytes of an event. */
export function createStreamMeter(kind: UsageKind): StreamMeter {
  const head = createHead()
  const ring = createRing(head.bytes)
  let bytes = 0

  function push(chunk: Buffer): void {
    bytes += chunk.length
    const taken = head.take(chunk)
    if (taken < chunk.length) ring.add(chunk, taken)
  }

  const tail = () => (bytes <= KEPT_BYTES ? head.bytes() : ring.bytes())

  function outputText() {
    const first = head.bytes()
    const gap = bytes - 2 * KEPT_BYTES
    if (bytes <= KEPT_BYTES) return { text: textOfEvents(kind, first.toString()), share: 1 }
    const last = ring.bytes()
    if (gap > 0) {
      const text = textOfEvents(kind, first.toString()) + textOfEvents(kind, last.toString())
      return { text, share: (2 * KEPT_BYTES) / bytes }
    }
    const whole = Buffer.concat([first, last.subarray(-(bytes - KEPT_BYTES))])
    return { text: textOfEvents(kind, whole.toString()), share: 1 }
  }

  return {
    push,
    bytes: () => bytes,
    tail,
    usage: () => readStreamUsage(kind, head.bytes(), tail()),
    startInput: () => readStreamInput(kind, head.bytes()),
    outputText,
  }
}

/** Grows as needed: most streams are short, and thousands are open at once. */
function createHead() {
  let store: Buffer = Buffer.alloc(0)
  let used = 0
  return {
    bytes: () => store.subarray(0, used),
    /** How many bytes of the chunk still had room. */
    take(chunk: Buffer): number {
      const taken = Math.min(chunk.length, KEPT_BYTES - used)
      if (taken === 0) return 0
      if (used === 0 && chunk.length >= LARGE_BYTES) {
        store = chunk.subarray(0, taken)
        used = taken
        return taken
      }
      if (used + taken > store.length) {
        const wanted = Math.max(FIRST_BYTES, store.length * 2, used + taken)
        const larger = Buffer.allocUnsafeSlow(Math.min(wanted, KEPT_BYTES))
        store.copy(larger, 0, 0, used)
        store = larger
      }
      chunk.copy(store, used, 0, taken)
      used += taken
      return taken
    },
  }
}

/** The last bytes, in a circle; it begins as a copy of the full head when that is first outgrown. */
function createRing(head: () => Buffer) {
  let store: Buffer | undefined
  let next = 0
  return {
    bytes: () => (store ? Buffer.concat([store.subarray(next), store.subarray(0, next)]) : head()),
    add(chunk: Buffer, from: number): void {
      if (!store) {
        store = Buffer.allocUnsafeSlow(KEPT_BYTES)
        head().copy(store)
      }
      const start = Math.max(from, chunk.length - KEPT_BYTES)
      const room = Math.min(chunk.length - start, KEPT_BYTES - next)
      chunk.copy(store, next, start, start + room)
      chunk.copy(store, 0, start + room)
      next = (next + chunk.length - start) % KEPT_BYTES
    },
  }
}
