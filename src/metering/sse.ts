import type { Dialect } from '../dialects/dialect.ts'
import { isRecord, type JsonRecord, lastObject, parseJson } from '../json.ts'

const LF = 10
const CR = 13
const MAX_EVENT_BYTES = 1024 * 1024
const FIRST_KEPT_BYTES = 256
const EMPTY: Buffer = Buffer.alloc(0)

/** Cuts a byte stream into whole events, whatever the chunks; nothing is added, lost or decoded. */
export interface EventSplitter {
  /**
   * The events that this chunk completed, terminators included. The LF of a CRLF whose CR ended the chunk before comes
   * as a piece of its own: the event has left already, for no event may wait for the next one.
   */
  push(chunk: Buffer): Buffer[]
  /** The begun event that has not ended. */
  rest(): Buffer
  /** The same where it is longer than this, given out: the event goes on without it. */
  release(longerThan: number): Buffer
}

/** Throws an error with the code `EVENT_TOO_LARGE` on a longer event, so that a provider cannot fill the memory. */
export function createEventSplitter(maxEventBytes = MAX_EVENT_BYTES): EventSplitter {
  return new LineSplitter(maxEventBytes)
}

class LineSplitter implements EventSplitter {
  readonly #held: HeldBytes
  #isAtLineStart = true
  #endedInCr = false

  constructor(maxEventBytes: number) {
    this.#held = new HeldBytes(maxEventBytes)
  }

  rest(): Buffer {
    return this.#held.bytesSoFar()
  }

  release(longerThan: number): Buffer {
    return this.#held.bytes() > longerThan ? this.#held.takeSoFar() : EMPTY
  }

  push(chunk: Buffer): Buffer[] {
    const events: Buffer[] = []
    const lines = new LineEnds(chunk)
    let [start, at] = [0, 0]
    if (this.#endedInCr && chunk[0] === LF) {
      at = 1
      if (this.#held.bytes() === 0) {
        events.push(chunk.subarray(0, 1))
        start = 1
      }
    }
    if (chunk.length > 0) this.#endedInCr = chunk[chunk.length - 1] === CR
    while (at < chunk.length) {
      if (!this.#isAtLineStart) {
        const end = lines.next(at)
        if (end === -1) break
        at = afterLineEnd(chunk, end)
        this.#isAtLineStart = true
      } else if (chunk[at] === LF || chunk[at] === CR) {
        at = afterLineEnd(chunk, at)
        events.push(this.#held.take(chunk, start, at))
        start = at
      } else this.#isAtLineStart = false
    }
    this.#held.keep(chunk, start)
    return events
  }
}

/** The begun event, copied into a buffer that doubles: tiny chunks cost neither quadratic time nor an object each. */
class HeldBytes {
  readonly #maxBytes: number
  #store = EMPTY
  #used = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  bytes(): number {
    return this.#used
  }

  bytesSoFar(): Buffer {
    return this.#used === 0 ? EMPTY : Buffer.from(this.#store.subarray(0, this.#used))
  }

  keep(chunk: Buffer, start: number): void {
    if (start < chunk.length) this.#add(chunk, start, chunk.length)
  }

  take(chunk: Buffer, start: number, end: number): Buffer {
    if (this.#used === 0) {
      if (end - start > this.#maxBytes) throw tooLarge(this.#maxBytes)
      return start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end)
    }
    this.#add(chunk, start, end)
    return this.takeSoFar()
  }

  takeSoFar(): Buffer {
    const event = this.#store.subarray(0, this.#used)
    this.#store = EMPTY
    this.#used = 0
    return event
  }

  #add(chunk: Buffer, start: number, end: number): void {
    const need = this.#used + end - start
    if (need > this.#maxBytes) throw tooLarge(this.#maxBytes)
    if (need > this.#store.length) {
      const larger = Buffer.allocUnsafe(Math.max(FIRST_KEPT_BYTES, need * 2))
      this.#store.copy(larger, 0, 0, this.#used)
      this.#store = larger
    }
    chunk.copy(this.#store, this.#used, start, end)
    this.#used = need
  }
}

function tooLarge(maxBytes: number) {
  return Object.assign(new Error(`An event is longer than ${maxBytes} bytes`), { code: 'EVENT_TOO_LARGE' })
}

function afterLineEnd(chunk: Buffer, at: number) {
  return chunk[at] === CR && chunk[at + 1] === LF ? at + 2 : at + 1
}

/** Remembers both kinds of line end, so that a chunk with only one kind is not searched again and again for the other. */
class LineEnds {
  readonly #chunk: Buffer
  #lf = -2
  #cr = -2

  constructor(chunk: Buffer) {
    this.#chunk = chunk
  }

  next(from: number): number {
    if (this.#lf < from) this.#lf = this.#find(LF, from)
    if (this.#cr < from) this.#cr = this.#find(CR, from)
    const end = Math.min(this.#lf, this.#cr)
    return end === Number.POSITIVE_INFINITY ? -1 : end
  }

  #find(byte: number, from: number): number {
    const found = this.#chunk.indexOf(byte, from)
    return found === -1 ? Number.POSITIVE_INFINITY : found
  }
}

/** Nearly every event: one line of data and nothing else. */
const SINGLE_LINE = /^data: ?([^\r\n]*)(?:\n\n|\r\n\r\n)$/

/** What the event's `data` lines say; undefined for comments and the like. */
export function dataOf(event: Buffer): string | undefined {
  const text = event.toString()
  const single = SINGLE_LINE.exec(text)?.[1]
  if (single !== undefined) return single
  const lines = dataLines(text)
  return lines.length === 0 ? undefined : lines.join('\n')
}

/** What each `data` line of an event says. */
export function dataLines(event: string): string[] {
  const lines = event.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)
  const found = lines.filter((line) => line.startsWith('data:') || line === 'data')
  return found.map((line) => line.slice(line[5] === ' ' ? 6 : 5))
}

const CHOICES = Buffer.from('"choices"')
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

/** The report of Chat's extra last chunk, which exists only because it was asked for; undefined for other events. */
export function readUsageOnlyEvent(event: Buffer): JsonRecord | undefined {
  if (!hasEmptyChoices(event)) return undefined
  const parsed = parseJson(dataOf(event) ?? '')
  if (!isRecord(parsed) || !Array.isArray(parsed.choices) || parsed.choices.length > 0) return undefined
  return isRecord(parsed.usage) && !parsed.error ? parsed.usage : undefined
}

/** Only bytes are compared: nearly every event ends here, unparsed. */
function hasEmptyChoices(event: Buffer): boolean {
  for (let at = event.indexOf(CHOICES); at !== -1; at = event.indexOf(CHOICES, at + 1)) {
    const colon = skipBlanks(event, at + CHOICES.length)
    const bracket = skipBlanks(event, colon + 1)
    if (event[colon] !== COLON || event[bracket] !== OPEN_BRACKET) continue
    if (event[skipBlanks(event, bracket + 1)] === CLOSE_BRACKET) return true
  }
  return false
}

function skipBlanks(event: Buffer, from: number): number {
  let at = from
  while (event[at] === 0x20 || event[at] === 0x09) at++
  return at
}

/** An empty line ends an event; LF, CRLF and CR all end a line. */
const EMPTY_LINE = '(?:\\r\\n|\\n|\\r(?!\\n))(?:\\r\\n|\\n|\\r)'
const EVENT_END = new RegExp(EMPTY_LINE, 'g')

/** Where the event ends that is there at `from`; -1: not in this text. */
export function eventEnd(text: string, from: number): number {
  EVENT_END.lastIndex = from
  return EVENT_END.test(text) ? EVENT_END.lastIndex : -1
}

/** Where the event begins that is there at `at`, after the empty line before it; -1: not in these bytes. */
export function eventStart(bytes: Buffer, at: number): number {
  const lf = endBefore(bytes, '\n\n', at)
  return Math.max(lf, endBefore(bytes, '\n\r\n', at), endBefore(bytes, '\r\r', at))
}

function endBefore(bytes: Buffer, ending: string, at: number): number {
  const found = at < ending.length ? -1 : bytes.lastIndexOf(ending, at - ending.length, 'latin1')
  return found === -1 ? -1 : found + ending.length
}

/** A ping or a comment may follow the last event; further back nothing is an end. */
const LAST_EVENTS = 4

/** Whether the stream's last bytes (or its last event) say that the answer is whole. */
export function sawEnd(dialect: Dialect, tail: Buffer): boolean {
  const events = tail.toString('latin1').split(new RegExp(EMPTY_LINE))
  const said = events.filter((event) => /\S/.test(event)).slice(-LAST_EVENTS)
  return said.some(
    (event) => isEnd(event, dialect.endTypes) || (event === events[0] && isLongEnd(dialect, event)),
  )
}

/** Some write one event a line, without an empty one between them. */
function isEnd(event: string, types: readonly string[]): boolean {
  const lines = dataLines(event)
  return isEndData(lines.join('\n'), types) || (lines.length > 1 && isEndData(lines.at(-1) ?? '', types))
}

function isEndData(data: string, types: readonly string[]): boolean {
  if (data.length < 16 && data.trim() === '[DONE]') return true
  if (!types.some((type) => data.includes(type))) return false
  const parsed = parseJson(data)
  return isRecord(parsed) && typeof parsed.type === 'string' && types.includes(parsed.type)
}

/** These ends repeat the whole answer and may begin before the kept bytes: then the usage report gives them away. */
function isLongEnd({ repeatsAnswer, reportDepth }: Dialect, event: string): boolean {
  return repeatsAnswer && lastObject(event, 'usage', reportDepth) !== undefined
}
