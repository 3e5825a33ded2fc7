import type { JsonRecord } from '../metering/json.ts'
import { createEventSplitter, readUsageOnlyEvent } from '../metering/sse.ts'

const LF = 0x0a
const CR = 0x0d
const EVENT_END = Buffer.from('\n\n')
const EMPTY_LIST = Buffer.from('[]')
const WIDE_EMPTY_LIST = Buffer.from('[ ]')

/** Takes the usage chunk out of a stream that was not to have one; every other byte passes. */
export interface UsageFilter {
  /** What of these bytes may leave. Throws on an event that is too large. */
  pass(bytes: Buffer): Buffer
  /** The begun event that has not ended. */
  rest(): Buffer
  /** What the hidden chunk reports. */
  report(): JsonRecord | undefined
}

export const createUsageFilter = (): UsageFilter => {
  const splitter = createEventSplitter()
  /** The last byte so far was the CR of a hidden event: an LF right behind it belongs to that event. */
  let owesLf = false
  let report: JsonRecord | undefined

  const pass = (bytes: Buffer): Buffer => {
    const isLf = owesLf && bytes[0] === LF
    if (bytes.length > 0) owesLf = false
    if (!isLf) return passEvents(bytes)
    splitter.push(bytes.subarray(0, 1))
    return passEvents(bytes.subarray(1))
  }

  const passEvents = (bytes: Buffer): Buffer => {
    const from = splitter.rest().length === 0 ? plainPart(bytes) : 0
    if (from === bytes.length) return bytes
    const kept = [bytes.subarray(0, from)]
    let isHidden = false
    for (const event of splitter.push(bytes.subarray(from))) {
      const hidden = readUsageOnlyEvent(event)
      isHidden = hidden !== undefined
      if (hidden) report = hidden
      else kept.push(event)
    }
    owesLf = isHidden && splitter.rest().length === 0 && bytes[bytes.length - 1] === CR
    return Buffer.concat(kept)
  }

  return { pass, rest: splitter.rest, report: () => report }
}

/** Only an event with an empty list can be the usage chunk: whole events before it pass as they are. */
const plainPart = (bytes: Buffer): number => {
  const empty = firstEmptyList(bytes)
  if (empty === -1 && endsEvent(bytes)) return bytes.length
  const boundary = bytes.lastIndexOf(EVENT_END, empty === -1 ? undefined : empty)
  return boundary === -1 ? 0 : boundary + 2
}

const firstEmptyList = (bytes: Buffer): number => {
  const tight = bytes.indexOf(EMPTY_LIST)
  const wide = bytes.indexOf(WIDE_EMPTY_LIST)
  if (tight === -1 || wide === -1) return Math.max(tight, wide)
  return Math.min(tight, wide)
}

/** Whether the last bytes end an event. */
export const endsEvent = (bytes: Buffer): boolean => {
  const { length } = bytes
  if (bytes[length - 1] !== 0x0a) return false
  return bytes[length - 2] === 0x0a || (bytes[length - 2] === 0x0d && bytes[length - 3] === 0x0a)
}
