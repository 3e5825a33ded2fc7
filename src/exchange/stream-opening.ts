import type { Dialect } from '../dialects/dialect.ts'
import { type EventVerdict, NO_OUTPUT, type ToldFailure } from '../dialects/verdict.ts'
import { isRecord, parseJson } from '../json.ts'
import { createEventSplitter, dataOf } from '../metering/sse.ts'

/** A beginning longer than this holds something, whatever it is: a picture, say. */
const MAX_HELD_BYTES = 256 * 1024
const LF = 0x0a
const EVENT_END = Buffer.from('\n\n')
const ERROR_EVENT = /^event: ?error\s*$/m

/**
 * The beginning of a stream, held until an event carries output: comments, pings and what only says that an answer has
 * begun are none, and until then another provider may be asked.
 */
export class StreamOpening {
  readonly #dialect: Dialect
  readonly #splitter = createEventSplitter()
  #held: Buffer[] = []
  #bytes = 0
  #hasBegun = false
  /** How much of the begun event was judged line by line. */
  #judgedBytes = 0

  constructor(dialect: Dialect) {
    this.#dialect = dialect
  }

  /** Something was said that the second answer of another provider would contradict. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** `alive` and `begun`: not yet. Behind a verdict of output nothing more is looked at. */
  push(chunk: Buffer): EventVerdict {
    this.#held.push(chunk)
    this.#bytes += chunk.length
    for (let at = 0; at < chunk.length; ) {
      const end = chunk.indexOf(EVENT_END, at)
      const next = end === -1 ? chunk.length : end + EVENT_END.length
      for (const event of this.#splitter.push(chunk.subarray(at, next))) {
        this.#judgedBytes = 0
        const verdict = this.#note(judge(this.#dialect, event))
        if (verdict) return verdict
      }
      at = next
    }
    if (this.#bytes > MAX_HELD_BYTES) return 'output'
    const verdict = chunk.includes(LF) ? this.#judgeLines(false) : undefined
    return verdict ?? (this.#hasBegun ? 'begun' : 'alive')
  }

  /** What it says after all, now that it is over; undefined: nothing. */
  end(): EventVerdict | undefined {
    return this.#judgeLines(true)
  }

  /** Whether what is held ends with an event. */
  isAtBoundary(): boolean {
    return this.#splitter.rest().length === 0
  }

  /** Some write one event a line, or no empty line behind their last one: a line that is whole by itself is an event. */
  #judgeLines(isOver: boolean): EventVerdict | undefined {
    const rest = this.#splitter.rest()
    const isError = isErrorEvent(rest)
    while (this.#judgedBytes < rest.length) {
      const end = rest.indexOf(LF, this.#judgedBytes)
      if (end === -1 && !isOver) return undefined
      const next = end === -1 ? rest.length : end + 1
      const data = dataOf(rest.subarray(this.#judgedBytes, next))
      const verdict = data === undefined ? 'alive' : judgeData(this.#dialect, data, isError)
      // One that is not whole makes an event with those behind it.
      this.#judgedBytes = verdict ? next : Number.POSITIVE_INFINITY
      const found = verdict && this.#note(verdict)
      if (found) return found
    }
    return undefined
  }

  /** Undefined: more must be seen. */
  #note(verdict: EventVerdict): EventVerdict | undefined {
    if (verdict === 'begun') this.#hasBegun = true
    return verdict === 'begun' || verdict === 'alive' ? undefined : verdict
  }

  holdsEvents(): boolean {
    return this.#bytes > 0 && this.isAtBoundary()
  }

  take(): Buffer[] {
    const held = this.#held
    this.#held = []
    this.#bytes = 0
    return held
  }
}

function judge(dialect: Dialect, bytes: Buffer): EventVerdict {
  const isError = isErrorEvent(bytes)
  const verdict = judgeData(dialect, dataOf(bytes) ?? '', isError)
  return verdict ?? (isError ? TOLD : 'output')
}

/** Undefined: it is no JSON object. */
function judgeData(dialect: Dialect, data: string, isError: boolean): EventVerdict | undefined {
  if (data.trim() === '') return isError ? TOLD : 'alive'
  if (data.length < 16 && data.trim() === '[DONE]') return NO_OUTPUT
  const event = parseJson(data)
  if (!isRecord(event)) return undefined
  const verdict = dialect.judgeEvent(event)
  return isError && typeof verdict === 'string' ? TOLD : verdict
}

/** `event:` is the only field whose first letter this is. */
function isErrorEvent(bytes: Buffer): boolean {
  return bytes[0] === 0x65 && ERROR_EVENT.test(bytes.toString('latin1', 0, 64))
}

const TOLD: ToldFailure = { reason: 'TOLD_ERROR', status: 0 }
