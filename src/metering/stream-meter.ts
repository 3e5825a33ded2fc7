import type { Dialect } from '../dialects/dialect.ts'
import type { Usage } from '../dialects/usage.ts'
import { isRecord, parseBegun, parseJson } from '../json.ts'
import { ReportFinder } from './report-finder.ts'
import { readPassedUsage, readStreamInput, readStreamUsage } from './usage.ts'

const KEPT_BYTES = 16 * 1024
const FIRST_BYTES = 1024
/** Most streams whose first chunk is as large are over with it: it is kept as it is, and copied only once it is outgrown. */
const LARGE_BYTES = 4096

/**
 * Reads along with an answer: finds its usage reports, and keeps its first and its last 16 KiB, into which it looks only
 * when asked.
 */
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
export function createStreamMeter(dialect: Dialect): StreamMeter {
  return new EndsMeter(dialect, true)
}

/** The same of a whole answer that passes because it is too long to be held back. */
export function createAnswerMeter(dialect: Dialect): StreamMeter {
  return new EndsMeter(dialect, false)
}

const EMPTY: Buffer = Buffer.alloc(0)

class EndsMeter implements StreamMeter {
  readonly #dialect: Dialect
  readonly #isStream: boolean
  readonly #finder: ReportFinder
  #bytes = 0
  /** The first bytes. It grows as needed: most streams are short, and thousands are open at once. */
  #head = EMPTY
  #headBytes = 0
  #ring: Ring | undefined

  constructor(dialect: Dialect, isStream: boolean) {
    this.#dialect = dialect
    this.#isStream = isStream
    this.#finder = new ReportFinder(isStream, isStream ? dialect.reportDepth : 1, this)
  }

  push(chunk: Buffer): void {
    this.#finder.push(chunk)
    this.#bytes += chunk.length
    const taken = this.#headBytes === KEPT_BYTES ? 0 : this.#takeHead(chunk)
    if (taken === chunk.length) return
    if (!this.#ring) {
      this.#ring = new Ring(this.#head)
      // Part of a chunk, it would keep all of that chunk in memory for as long as the stream runs.
      this.#head = owned(this.#head)
    }
    this.#ring.add(chunk, taken)
  }

  bytes(): number {
    return this.#bytes
  }

  tail(): Buffer {
    return this.#ring ? this.#ring.bytes() : this.#first()
  }

  usage(): Usage | undefined {
    const found = this.#finder.found()
    return this.#isStream
      ? readStreamUsage(this.#dialect, found)
      : readPassedUsage(this.#dialect, { found, head: this.#first(), tail: this.tail() })
  }

  startInput(): Usage | undefined {
    return readStreamInput(this.#dialect, this.#finder.found())
  }

  outputText(): { text: string; share: number } {
    const first = this.#first()
    const gap = this.#bytes - 2 * KEPT_BYTES
    if (!this.#ring) return { text: this.#textOf(first), share: 1 }
    const last = this.#ring.bytes()
    if (gap > 0)
      return { text: this.#textOf(first) + this.#textOf(last, true), share: (2 * KEPT_BYTES) / this.#bytes }
    const whole = Buffer.concat([first, last.subarray(-(this.#bytes - KEPT_BYTES))])
    return { text: this.#textOf(whole), share: 1 }
  }

  /** Parts of a document cannot be read as one: they count as they stand. `isCut`: it begins inside an event. */
  #textOf(bytes: Buffer, isCut = false): string {
    return this.#isStream ? textOfEvents(this.#dialect, bytes.toString(), isCut) : bytes.toString()
  }

  #first(): Buffer {
    return this.#headBytes === this.#head.length ? this.#head : this.#head.subarray(0, this.#headBytes)
  }

  /** How many bytes of the chunk still had room. */
  #takeHead(chunk: Buffer): number {
    const used = this.#headBytes
    const taken = Math.min(chunk.length, KEPT_BYTES - used)
    this.#headBytes += taken
    if (used === 0 && chunk.length >= LARGE_BYTES) {
      this.#head = taken === chunk.length ? chunk : chunk.subarray(0, taken)
      return taken
    }
    if (used + taken > this.#head.length) {
      const wanted = Math.max(FIRST_BYTES, this.#head.length * 2, used + taken)
      const larger = Buffer.allocUnsafeSlow(Math.min(wanted, KEPT_BYTES))
      this.#head.copy(larger, 0, 0, used)
      this.#head = larger
    }
    chunk.copy(this.#head, used, 0, taken)
    return taken
  }
}

/** Of less that is left of a cut event nobody needs to know. */
const LEAST_CUT_CHARS = 1024
const FILE_CHARS = /^[\w+/=-]*$/

/** An event may have several lines of data, and a line may be an event of its own. */
function textOfEvents(dialect: Dialect, events: string, isCut: boolean): string {
  const lines = events.split(/\r\n|\n|\r/)
  const [first = ''] = lines
  // What repeats the answer is nothing more, and a file is no text.
  const isText = isCut && first.length >= LEAST_CUT_CHARS && !dialect.repeatsAnswer
  const begun = isText && !FILE_CHARS.test(first.slice(0, LEAST_CUT_CHARS)) ? first : ''
  return begun + textOfLines(dialect, isCut ? lines.slice(1) : lines)
}

function textOfLines(dialect: Dialect, all: readonly string[]): string {
  let text = ''
  let lines: string[] = []
  for (const [index, line] of all.entries()) {
    const isBegun = index === all.length - 1 && line.length >= LEAST_CUT_CHARS
    const event = line.startsWith('data:') ? (isBegun ? parseBegun : parseJson)(line.slice(5)) : undefined
    if (isRecord(event)) text += dialect.textOfEvent(event)
    else if (line.startsWith('data:')) lines.push(line.slice(5))
    else if (line === '' && lines.length > 0) {
      const joined = lines.length > 1 ? parseJson(lines.join('\n')) : undefined
      if (isRecord(joined)) text += dialect.textOfEvent(joined)
      lines = []
    }
  }
  return text
}

function owned(head: Buffer): Buffer {
  if (head.buffer.byteLength === head.length) return head
  const copy = Buffer.allocUnsafeSlow(head.length)
  head.copy(copy)
  return copy
}

/** The last bytes, in a circle; it begins as a copy of the full head when that is first outgrown. */
class Ring {
  readonly #store = Buffer.allocUnsafeSlow(KEPT_BYTES)
  #next = 0

  constructor(head: Buffer) {
    head.copy(this.#store)
  }

  bytes(): Buffer {
    return Buffer.concat([this.#store.subarray(this.#next), this.#store.subarray(0, this.#next)])
  }

  add(chunk: Buffer, from: number): void {
    const start = Math.max(from, chunk.length - KEPT_BYTES)
    const room = Math.min(chunk.length - start, KEPT_BYTES - this.#next)
    chunk.copy(this.#store, this.#next, start, start + room)
    chunk.copy(this.#store, 0, start + room)
    this.#next = (this.#next + chunk.length - start) % KEPT_BYTES
  }
}
