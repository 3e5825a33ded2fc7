import type { Dialect } from '../dialects/dialect.ts'
import { type EventVerdict, NO_OUTPUT, type ToldFailure } from '../dialects/verdict.ts'
import { isRecord, parseJson } from '../json.ts'
import { createEventSplitter, dataOf } from '../metering/sse.ts'

/** A beginning longer than this holds something, whatever it is: a picture, say. */
const MAX_HELD_BYTES = 256 * 1024
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
        const verdict = judge(this.#dialect, event)
        if (verdict === 'begun') this.#hasBegun = true
        else if (verdict !== 'alive') return verdict
      }
      at = next
    }
    if (this.#bytes > MAX_HELD_BYTES) return 'output'
    return this.#hasBegun ? 'begun' : 'alive'
  }

  /** Whether what is held ends with an event. */
  isAtBoundary(): boolean {
    return this.#splitter.rest().length === 0
  }

  take(): Buffer[] {
    const held = this.#held
    this.#held = []
    this.#bytes = 0
    return held
  }
}

function judge(dialect: Dialect, bytes: Buffer): EventVerdict {
  const data = dataOf(bytes)
  // `event:` is the only field whose first letter this is.
  const isError = bytes[0] === 0x65 && ERROR_EVENT.test(bytes.toString('latin1', 0, 64))
  if (data === undefined || data.trim() === '') return isError ? TOLD : 'alive'
  if (data.length < 16 && data.trim() === '[DONE]') return NO_OUTPUT
  const event = parseJson(data)
  if (!isRecord(event)) return isError ? TOLD : 'output'
  const verdict = dialect.judgeEvent(event)
  return isError && typeof verdict === 'string' ? TOLD : verdict
}

const TOLD: ToldFailure = { reason: 'TOLD_ERROR', status: 0 }
