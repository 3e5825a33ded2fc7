import { invalidRequest } from '../errors.ts'
import type { OutgoingBody } from './ask.ts'
import type { FieldTable } from './guarded-fields.ts'
import { JsonScan } from './json-scan.ts'
import type { FoundField } from './json-tokens.ts'

/** Stands for a value that is longer than what is kept of it: of the wrong type, whatever it is. */
const TOO_LONG = Symbol('too long')
const OPEN_BRACE = 0x7b
/** No other word than `null` begins with an n. */
const LETTER_N = 0x6e
/** Read between two looks at the clock: less than a millisecond of the worst. */
const PIECE_BYTES = 64 * 1024

/** A body on its way through the scanner, in as many goes as it takes. */
export class JsonReading {
  readonly scan: JsonScan
  readonly #body: Buffer
  #at = 0

  constructor(body: Buffer, table: FieldTable) {
    this.scan = new JsonScan(table)
    this.#body = body
  }

  /** Reads on for `ms` at most, and a piece beyond; true: the body is read, and right. Throws `invalid_json`. */
  read(ms: number): boolean {
    const { length } = this.#body
    // Nearly every body is one piece.
    if (length <= PIECE_BYTES) return this.#readAll()
    const until = performance.now() + ms
    while (this.#at < length) {
      const from = this.#at
      this.#at = Math.min(length, from + PIECE_BYTES)
      this.scan.push(this.#body.subarray(from, this.#at))
      if (this.#at < length && performance.now() >= until) return false
    }
    this.scan.end()
    return true
  }

  #readAll(): true {
    if (this.#at === 0) this.scan.push(this.#body)
    this.#at = this.#body.length
    this.scan.end()
    return true
  }
}

/** The guarded fields of a JSON body, each parsed only when asked for. */
export class JsonFields {
  readonly #scan: JsonScan

  constructor(scan: JsonScan) {
    this.#scan = scan
  }

  get rootStart(): number {
    return this.#scan.rootStart
  }

  find(path: string): FoundField | undefined {
    return this.#scan.found.findLast((field) => field.path === path)
  }

  /** The paths of all that is not null. */
  named(): string[] {
    return this.#scan.found.filter(({ opening }) => opening !== LETTER_N).map(({ path }) => path)
  }

  /** Undefined where the field is missing or null. */
  value(path: string): unknown {
    const field = this.find(path)
    return field && (parsed(field) ?? undefined)
  }

  /** Every value under a path that several objects of a list may have. */
  values(path: string): unknown[] {
    return this.#scan.found.filter((field) => field.path === path).map(parsed)
  }

  flag(path: string): boolean {
    const value = this.value(path) ?? false
    if (typeof value !== 'boolean') throw invalidRequest(`"${path}" must be true or false`, { param: path })
    return value
  }

  count(path: string): number | undefined {
    const value = this.value(path)
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
    throw invalidRequest(`"${path}" must be a whole number, 0 or more`, { param: path })
  }

  text(path: string): string {
    const value = this.value(path) ?? ''
    if (typeof value === 'string') return value
    throw invalidRequest(value === TOO_LONG ? `"${path}" is too long` : `"${path}" must be a string`, {
      param: path,
    })
  }

  /** The object under a path, its value unread; undefined where it is missing or null. */
  object(path: string): FoundField | undefined {
    const field = this.find(path)
    if (!field || field.opening === LETTER_N) return undefined
    if (field.opening === OPEN_BRACE) return field
    throw invalidRequest(`"${path}" must be an object`, { param: path })
  }
}

/** The scanner has read the text as JSON but for the inside of long strings. */
function parsed({ text }: FoundField): unknown {
  if (text === undefined) return TOO_LONG
  try {
    return JSON.parse(text)
  } catch {
    return TOO_LONG
  }
}

/** Bodies up to here are rewritten by copying: it costs less than sending several pieces. */
const SMALL_BYTES = 64 * 1024

/** Where a body is rewritten. */
export interface Spans {
  model: Span
  usage: Splice | undefined
}

interface Span {
  start: number
  end: number
  text: string | undefined
  /** The whole field is missing. */
  isNew?: boolean
  /** It will be the only one. */
  isAlone?: boolean
}

export function findSpans(fields: JsonFields, body: Buffer, mustAskForUsage: boolean): Spans {
  return {
    model: fields.find('model') ?? unnamedModel(fields.rootStart + 1, body),
    usage: mustAskForUsage ? usageSplice(fields) : undefined,
  }
}

/** Where a model is written that the client did not name: what is paid for is what is asked. */
function unnamedModel(start: number, body: Buffer): Span {
  let at = start
  while ((body[at] ?? 0) <= 0x20 && at < body.length) at += 1
  return { start, end: start, text: undefined, isNew: true, isAlone: body[at] === CLOSE_BRACE }
}

/** The same bytes but for two things: `model` is the provider's name, and the usage chunk is asked for. */
export function rewrite(
  chunks: readonly Buffer[],
  { model, usage }: Spans,
  upstreamModel: string,
  askForUsage: boolean,
): OutgoingBody {
  const text = JSON.stringify(upstreamModel)
  const splices: Splice[] = []
  if (model.text !== text)
    splices.push({ start: model.start, end: model.end, bytes: modelBytes(model, text) })
  if (askForUsage && usage) splices.push(usage)
  const pieces = spliceChunks(chunks, splices)
  const [only] = pieces
  if (pieces.length === 1 && only) return { body: only, length: undefined }
  return { body: pieces, length: sizeOf(pieces) }
}

function modelBytes({ isNew, isAlone }: Span, text: string): Buffer {
  return Buffer.from(isNew ? `"model":${text}${isAlone ? '' : ','}` : text)
}

const CLOSE_BRACE = 0x7d
const TRUE = Buffer.from('true')
const ASKED = Buffer.from('{"include_usage":true}')
const ASKED_FIRST = Buffer.from('"stream_options":{"include_usage":true},')
const ASKED_ALONE = Buffer.from('"include_usage":true')
const ASKED_TOO = Buffer.from(',"include_usage":true')

function usageSplice(fields: JsonFields): Splice {
  const asked = fields.find('stream_options.include_usage')
  if (asked) return { start: asked.start, end: asked.end, bytes: TRUE }
  const options = fields.find('stream_options')
  const at = (place: number, bytes: Buffer): Splice => ({ start: place, end: place, bytes })
  if (!options) return at(fields.rootStart + 1, ASKED_FIRST)
  if (!fields.object('stream_options')) return { start: options.start, end: options.end, bytes: ASKED }
  return at(options.end - 1, options.isEmpty ? ASKED_ALONE : ASKED_TOO)
}

/** Bytes to put in the place of others. */
interface Splice {
  start: number
  end: number
  bytes: Buffer
}

/** The chunks with the splices in them, in as few pieces as there are; nothing is copied but small bodies. */
function spliceChunks(chunks: readonly Buffer[], splices: readonly Splice[]): readonly Buffer[] {
  if (splices.length === 0) return chunks
  const sorted = splices.length === 1 ? splices : splices.toSorted((a, b) => a.start - b.start)
  const [only] = chunks
  if (chunks.length === 1 && only && only.length <= SMALL_BYTES) return [spliceSmall(only, sorted)]
  const pieces: Buffer[] = []
  let from = 0
  for (const { start, end, bytes } of sorted) {
    pushRange(pieces, chunks, from, start)
    pieces.push(bytes)
    from = end
  }
  pushRange(pieces, chunks, from, Number.POSITIVE_INFINITY)
  return pieces
}

/** Nearly every request: one buffer, written once. */
function spliceSmall(chunk: Buffer, splices: readonly Splice[]): Buffer {
  let size = chunk.length
  for (const { start, end, bytes } of splices) size += bytes.length - (end - start)
  const whole = Buffer.allocUnsafe(size)
  let [from, to] = [0, 0]
  for (const { start, end, bytes } of splices) {
    to += chunk.copy(whole, to, from, start)
    to += bytes.copy(whole, to)
    from = end
  }
  chunk.copy(whole, to, from)
  return whole
}

function sizeOf(chunks: readonly Buffer[]): number {
  let size = 0
  for (const chunk of chunks) size += chunk.length
  return size
}

function pushRange(pieces: Buffer[], chunks: readonly Buffer[], from: number, to: number): void {
  let at = 0
  for (const chunk of chunks) {
    const [start, end] = [Math.max(from - at, 0), Math.min(to - at, chunk.length)]
    if (start < end) pieces.push(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end))
    at += chunk.length
  }
}
