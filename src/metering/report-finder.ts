import type { JsonRecord } from '../json.ts'
import { ReportTracker } from './report-tracker.ts'
import { eventEnd, eventStart } from './sse.ts'

const KEY = Buffer.from('"usage"')
/** The key but for its first quote: the search stops at each byte that is like the first one, and quotes are everywhere. */
const SEARCHED = KEY.subarray(1)
/** A report: the key, a colon, and the brace of an object. */
const OPENING = /^"usage"\s*:\s*\{/
const OPENING_INSIDE = /(?<!\\)"usage"\s*:\s*\{/
/** The beginning of that, cut off. */
const BEGUN = /(?<!\\)"(?:u(?:s(?:a(?:g(?:e(?:"\s*(?::\s*)?)?)?)?)?)?)?$/
/** A key and its brace are found with blanks of about this length between them. */
const OPENING_BYTES = 64
/** Read in one go: a chunk may hold many events, and each is looked at no further than to its end. */
const WINDOW_BYTES = 2048
/** An event that is longer is not kept: its reports are picked out of it as it passes. */
const MAX_EVENT_CHARS = 16 * 1024
/** Of the events with a report the first is kept (Anthropic's names the input), and so many of the last. */
const LAST_KEPT = 3
/** In the events of a chat Groq's lies one deeper and Moonshot's two; nothing in them was written by the client. */
const DEEPEST_OF_CHAT = 3
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const COLON = 0x3a
const BACKSLASH = 0x5c
const QUOTE = 0x22
const OPEN_BRACE = 0x7b

/** The text of an event with a report in it, or the report alone of one that is too long to be kept. */
export type Found = string | JsonRecord

/** What is kept of the bytes before. */
export interface Before {
  bytes(): number
  tail(): Buffer
}

/**
 * Finds usage reports in an answer that passes, wherever they stand and however long what is around them. Bytes without
 * the word are searched once, natively, and never become text: only an event that has it does.
 */
export class ReportFinder {
  /** False: the answer is one JSON document. */
  readonly #isStream: boolean
  /** How many braces deep a report is believed whose event is not kept. */
  readonly #depth: number
  readonly #deepest: number
  readonly #before: Before
  readonly #found: Found[] = []
  /** The event with a report that has not ended. */
  #event: string | undefined
  /** It is there in place of the event once that is too long, or began before what is kept. */
  #tracker: ReportTracker | undefined
  /** The end of what came before, where it may be the beginning of a report. */
  #begun = ''
  /** The last characters of a tracked event, where its end may have begun. */
  #ending = ''
  #lastByte = 0
  #isAtBoundary = true
  /** Where in this chunk the last event ended that was read. */
  #boundary = -1

  constructor(isStream: boolean, depth: number, before: Before) {
    this.#isStream = isStream
    this.#depth = depth
    this.#deepest = isStream && depth === 1 ? DEEPEST_OF_CHAT : depth
    this.#before = before
  }

  /** It is called before these bytes are among those that are kept. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    this.#boundary = -1
    if (this.#begun !== '') this.#join(chunk)
    let at = this.#isOpen() ? this.#goOn(chunk, 0) : 0
    while (at !== -1) at = this.#search(chunk, at)
    this.#noteEnd(chunk)
  }

  /** In the order in which they came. */
  found(): readonly Found[] {
    if (this.#event !== undefined) return [...this.#found, this.#event]
    const report = this.#tracker?.report(this.#depth, this.#deepest)
    return report ? [...this.#found, report] : this.#found
  }

  #isOpen(): boolean {
    return this.#event !== undefined || this.#tracker !== undefined
  }

  /** What the next chunk needs to know of this one. */
  #noteEnd(chunk: Buffer): void {
    this.#lastByte = chunk[chunk.length - 1] ?? 0
    const isLineEnd = this.#lastByte === LF
    this.#isAtBoundary = isLineEnd && endsEvent(chunk)
    this.#begun =
      isLineEnd || this.#isOpen()
        ? ''
        : (BEGUN.exec(
            (this.#begun + chunk.toString('latin1', Math.max(0, chunk.length - OPENING_BYTES))).slice(
              -OPENING_BYTES,
            ),
          )?.[0] ?? '')
  }

  /** A report whose key or colon is divided between two chunks. */
  #join(chunk: Buffer): void {
    if (!OPENING.test(this.#begun + chunk.toString('latin1', 0, OPENING_BYTES))) return
    this.#event = this.#isStream ? this.#textBefore() : undefined
    if (this.#event === undefined) this.#track(this.#begun)
  }

  /** From where on it is to be searched again; -1: this chunk is done. */
  #search(chunk: Buffer, from: number): number {
    const found = chunk.indexOf(SEARCHED, from)
    if (found === -1) return -1
    const at = found - 1
    if (chunk[at] !== QUOTE) return found + SEARCHED.length
    const isEscaped = (at > 0 ? chunk[at - 1] : this.#lastByte) === BACKSLASH
    if (isEscaped || !opensObject(chunk, at + KEY.length)) return at + KEY.length
    if (!this.#isStream) {
      this.#track('')
      return this.#goOn(chunk, at)
    }
    const start = Math.max(eventStart(chunk, at), this.#boundary)
    if (start !== -1 || this.#isAtBoundary) {
      this.#event = ''
      return this.#goOn(chunk, Math.max(0, start))
    }
    this.#event = this.#textBefore()
    if (this.#event !== undefined) return this.#goOn(chunk, 0)
    this.#track('')
    return this.#goOn(chunk, at)
  }

  /** The beginning of the event that is not over yet; undefined where it is not kept. */
  #textBefore(): string | undefined {
    const tail = this.#before.tail()
    const start = eventStart(tail, tail.length)
    if (start === -1 && tail.length < this.#before.bytes()) return undefined
    return tail.toString('latin1', Math.max(0, start))
  }

  #track(text: string): void {
    this.#event = undefined
    this.#tracker = new ReportTracker()
    this.#tracker.feed(text)
    this.#ending = text.slice(-3)
  }

  /** Reads on in the open event; where it ends, or -1. */
  #goOn(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at += WINDOW_BYTES) {
      const text = chunk.toString('latin1', at, at + WINDOW_BYTES)
      const end = this.#tracker ? this.#goOnTracking(this.#tracker, text) : this.#goOnKeeping(text)
      if (end === -1) continue
      this.#boundary = at + end
      return this.#boundary
    }
    return -1
  }

  #goOnTracking(tracker: ReportTracker, text: string): number {
    const joined = this.#ending + text
    const end = this.#isStream ? eventEnd(joined, 0) : -1
    if (end === -1) {
      tracker.feed(text)
      this.#ending = joined.slice(-3)
      return -1
    }
    const ownEnd = Math.max(0, end - this.#ending.length)
    tracker.feed(text.slice(0, ownEnd))
    const report = tracker.report(this.#depth, this.#deepest)
    if (report) this.#keep(report)
    this.#tracker = undefined
    return ownEnd
  }

  #goOnKeeping(text: string): number {
    const begun = this.#event ?? ''
    const joined = begun + text
    const end = eventEnd(joined, Math.max(0, begun.length - 3))
    if (end !== -1) {
      this.#event = undefined
      this.#keep(joined.slice(0, end))
      return Math.max(0, end - begun.length)
    }
    this.#event = joined
    if (joined.length > MAX_EVENT_CHARS) this.#track(joined.slice(OPENING_INSIDE.exec(joined)?.index))
    return -1
  }

  #keep(found: Found): void {
    if (this.#found.length > LAST_KEPT) this.#found.splice(1, 1)
    this.#found.push(found)
  }
}

/** Only bytes are compared: most reports that are named so far are `null`. */
function opensObject(bytes: Buffer, afterKey: number): boolean {
  const colon = skipBlanks(bytes, afterKey)
  return bytes[colon] === COLON && bytes[skipBlanks(bytes, colon + 1)] === OPEN_BRACE
}

function skipBlanks(bytes: Buffer, from: number): number {
  let at = from
  while (at < bytes.length && (bytes[at] ?? 0) <= SPACE) at += 1
  return at
}

/** Whether an empty line stands at the end, after which nothing has begun. */
function endsEvent(bytes: Buffer): boolean {
  const before = bytes.length - 2
  return bytes[before] === LF || (bytes[before] === CR && bytes[before - 1] === LF)
}

/** The answer's own report in a JSON document that is here and too long to be parsed for it. */
export function findReport(body: Buffer): JsonRecord | undefined {
  const finder = new ReportFinder(false, 1, NOTHING_BEFORE)
  finder.push(body)
  const report = finder.found().at(-1)
  return typeof report === 'string' ? undefined : report
}

const NOTHING_BEFORE: Before = { bytes: () => 0, tail: () => Buffer.alloc(0) }
