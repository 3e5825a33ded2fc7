import type { OutgoingBody } from './ask.ts'
import type { JsonFields } from './json-fields.ts'

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
