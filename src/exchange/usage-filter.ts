import type { JsonRecord } from '../json.ts'
import { createEventSplitter, type EventSplitter, readUsageOnlyEvent } from '../metering/sse.ts'
import type { Stage } from './answer.ts'

const LF = 0x0a
const CR = 0x0d
const EVENT_END = Buffer.from('\n\n')
/** A longer event is no usage chunk: a picture, say. It need not be here as a whole. */
const LONGEST_CHUNK = 64 * 1024
const EMPTY_LIST = Buffer.from('[]')
const WIDE_EMPTY_LIST = Buffer.from('[ ]')

/** Takes the usage chunk out of a stream that was not to have one; every other byte passes. */
export interface UsageFilter extends Stage {
  /** What of these bytes may leave; they may be moved about. Throws on an event that is too large. */
  pass(bytes: Buffer): Buffer
  /** The begun event that has not ended. */
  rest(): Buffer
  /** What the hidden chunk reports. */
  report(): JsonRecord | undefined
}

export function createUsageFilter(): UsageFilter {
  return new HidingFilter()
}

class HidingFilter implements UsageFilter {
  /** It is there once an event had to be looked into. */
  #splitter: EventSplitter | undefined
  /** The last byte so far was the CR of a hidden event: an LF right behind it belongs to that event. */
  #owesLf = false
  #report: JsonRecord | undefined

  pass(bytes: Buffer): Buffer {
    const isLf = this.#owesLf && bytes[0] === LF
    if (bytes.length > 0) this.#owesLf = false
    if (!isLf) return this.#passEvents(bytes)
    this.#splitter?.push(bytes.subarray(0, 1))
    return this.#passEvents(bytes.subarray(1))
  }

  last(bytes: Buffer): Buffer {
    const passing = this.pass(bytes)
    const rest = this.rest()
    return rest.length === 0 ? passing : Buffer.concat([passing, rest])
  }

  rest(): Buffer {
    return this.#splitter?.rest() ?? NOTHING
  }

  report(): JsonRecord | undefined {
    return this.#report
  }

  #passEvents(bytes: Buffer): Buffer {
    const isWhole = this.rest().length === 0
    const from = isWhole ? plainPart(bytes) : 0
    if (from === bytes.length) return bytes
    this.#splitter ??= createEventSplitter()
    const events = this.#splitter.push(bytes.subarray(from))
    const passing = isWhole ? this.#closeUp(bytes, from, events) : this.#join(bytes, events)
    const begun = this.#splitter.release(LONGEST_CHUNK)
    return begun.length === 0 ? passing : Buffer.concat([passing, begun])
  }

  /** All events are parts of `bytes`, one behind the other: what stays is moved together there. */
  #closeUp(bytes: Buffer, from: number, events: readonly Buffer[]): Buffer {
    let [at, to] = [from, from]
    for (const event of events) {
      if (!this.#hides(event, bytes)) {
        if (to < at) bytes.copyWithin(to, at, at + event.length)
        to += event.length
      }
      at += event.length
    }
    return bytes.subarray(0, to)
  }

  #join(bytes: Buffer, events: readonly Buffer[]): Buffer {
    return Buffer.concat(events.filter((event) => !this.#hides(event, bytes)))
  }

  #hides(event: Buffer, bytes: Buffer): boolean {
    const report = readUsageOnlyEvent(event)
    if (report) this.#report = report
    // Only the last event counts, and only when nothing has begun behind it.
    this.#owesLf = report !== undefined && this.rest().length === 0 && bytes[bytes.length - 1] === CR
    return report !== undefined
  }
}

const NOTHING: Buffer = Buffer.alloc(0)

/** Only an event with an empty list can be the usage chunk: whole events before it pass as they are. */
function plainPart(bytes: Buffer): number {
  const empty = firstEmptyList(bytes)
  if (empty === -1 && endsEvent(bytes)) return bytes.length
  const boundary = bytes.lastIndexOf(EVENT_END, empty === -1 ? undefined : empty)
  return boundary === -1 ? 0 : boundary + 2
}

function firstEmptyList(bytes: Buffer): number {
  const tight = bytes.indexOf(EMPTY_LIST)
  const wide = bytes.indexOf(WIDE_EMPTY_LIST)
  if (tight === -1 || wide === -1) return Math.max(tight, wide)
  return Math.min(tight, wide)
}

/** Whether the last bytes end an event. */
export function endsEvent(bytes: Buffer): boolean {
  const { length } = bytes
  if (bytes[length - 1] !== 0x0a) return false
  return bytes[length - 2] === 0x0a || (bytes[length - 2] === 0x0d && bytes[length - 3] === 0x0a)
}
