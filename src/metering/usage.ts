import type { Price } from '../config/catalog/catalog.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { isRecord, type JsonRecord, lastObject, parseJson, valueStart } from '../json.ts'
import { lineAround } from './sse.ts'

/** Parsing all of an answer up to this size is as fast as searching it. */
const SMALL_BYTES = 1024
/** How far from the end the report is looked for: nearly always it is near, but metadata may follow it. */
const TAIL_BYTES = [2048, 16 * 1024]
const MAX_PARSED_BYTES = 10 * 1024 * 1024
const KEY = '"usage"'

/** What a JSON answer, or its last bytes, says was used; undefined when it says nothing credible. */
export function readUsage(dialect: Dialect, body: Buffer): Usage | undefined {
  if (dialect.isFree) return NO_USAGE
  if (dialect.countsImages) return readImages(dialect, body)
  const report = body.length > SMALL_BYTES ? reportAtEnd(body) : undefined
  if (report) return dialect.readReport(report)
  if (body.length > MAX_PARSED_BYTES) return undefined
  const answer = parseJson(body.toString())
  return isRecord(answer) ? readAnswer(dialect, answer) : undefined
}

function reportAtEnd(body: Buffer): JsonRecord | undefined {
  for (const bytes of TAIL_BYTES) {
    const report = lastObject(body.subarray(-bytes).toString('latin1'), 'usage', 1)
    if (report) return report
  }
  return undefined
}

function readAnswer(dialect: Dialect, answer: JsonRecord): Usage | undefined {
  const report = reportIn(answer)
  return report ? dialect.readReport(report) : dialect.readUnreported(answer)
}

/** The places where a report may stand in an answer or an event: Groq, Responses and Moonshot have their own. */
function reportIn(answer: JsonRecord): JsonRecord | undefined {
  if (isRecord(answer.usage)) return answer.usage
  const choice: unknown = Array.isArray(answer.choices) ? answer.choices[0] : undefined
  for (const holder of [answer.response, answer.message, answer.x_groq, choice]) {
    if (isRecord(holder) && isRecord(holder.usage)) return holder.usage
  }
  return undefined
}

/** Image answers are megabytes of base64: they are counted by their keys, never parsed. */
function readImages(dialect: Dialect, body: Buffer): Usage | undefined {
  const report = body.length > SMALL_BYTES ? reportAtEnd(body) : smallReport(body)
  const images = countKey(body, '"b64_json"') || countKey(body, '"url"')
  const usage = report && dialect.readReport(report)
  if (usage) return { ...usage, images }
  return images > 0 ? { ...NO_USAGE, images } : undefined
}

function smallReport(body: Buffer): JsonRecord | undefined {
  const answer = parseJson(body.toString())
  return isRecord(answer) ? reportIn(answer) : undefined
}

function countKey(body: Buffer, key: string): number {
  let found = 0
  for (let at = body.indexOf(key); at !== -1; at = body.indexOf(key, at + key.length)) {
    if (/^\s*:\s*"/.test(body.toString('latin1', at + key.length, at + key.length + 16))) found++
  }
  return found
}

/** What a stream says was used, from its first and its last bytes; the last report wins. */
export function readStreamUsage(dialect: Dialect, head: Buffer, tail: Buffer): Usage | undefined {
  if (dialect.isFree) return NO_USAGE
  const last = lastStreamReport(dialect, tail.toString('latin1'))
  if (!last) return undefined
  const usage = dialect.readReport(dialect.startType === undefined ? last : withStart(dialect, head, last))
  return usage && dialect.countsImages ? { ...usage, images: 1 } : usage
}

/** The input that a first event names, such as Anthropic's: all there is when a stream ends early. */
export function readStreamInput(dialect: Dialect, head: Buffer): Usage | undefined {
  const report = startReport(dialect, head)
  return report && dialect.readReport({ ...report, output_tokens: 0 })
}

/** `message_start` names the input, `message_delta` the output and with some providers the true input. */
function withStart(dialect: Dialect, head: Buffer, last: JsonRecord): JsonRecord {
  const merged: JsonRecord = { ...startReport(dialect, head) }
  for (const [name, value] of Object.entries(last)) {
    if (value !== null && (value !== 0 || merged[name] === undefined)) merged[name] = value
  }
  // A start's `output_tokens` is a placeholder; a delta's zero is not.
  merged.output_tokens = last.output_tokens
  return merged
}

function startReport({ startType }: Dialect, head: Buffer): JsonRecord | undefined {
  if (startType === undefined) return undefined
  const text = head.toString('latin1')
  const at = text.indexOf(`"${startType}"`)
  const event = at === -1 ? undefined : parseLine(lineAround(text, at).line)
  return event && isRecord(event.message) ? reportIn(event) : undefined
}

function lastStreamReport(dialect: Dialect, text: string): JsonRecord | undefined {
  let at = text.lastIndexOf(KEY)
  while (at !== -1) {
    if (valueStart(text, at + KEY.length) !== -1) {
      const { start, line } = lineAround(text, at)
      const report = line.startsWith('data:') ? reportInLine(dialect, line) : cutReport(dialect, start, line)
      if (report) return report
      at = start
    }
    at = at === 0 ? -1 : text.lastIndexOf(KEY, at - 1)
  }
  return undefined
}

function reportInLine(dialect: Dialect, line: string): JsonRecord | undefined {
  const event = parseLine(line)
  return event && dialect.isLastWord(event) ? reportIn(event) : undefined
}

/** The kept bytes begin inside this line: an end event that repeats the whole answer. */
function cutReport({ reportDepth }: Dialect, start: number, line: string): JsonRecord | undefined {
  return start === 0 ? lastObject(line, 'usage', reportDepth) : undefined
}

/** Read as Latin-1: only ASCII keys and numbers are looked at. */
function parseLine(line: string): JsonRecord | undefined {
  const event = parseJson(line.slice(5))
  return isRecord(event) ? event : undefined
}

/** Images and audio may be reported by number or length alone: where LLM tokens have a price too, these are missing. */
export function lacksTokens({ unit }: Dialect, usage: Usage, price: Price): boolean {
  return (
    unit !== undefined &&
    usage.inputTokens + usage.outputTokens === 0 &&
    price.inputMicros + price.outputMicros > 0
  )
}

/** The usual length of an upload: recorded speech has a quarter of the most seconds that its bytes can hold. */
export function usualSeconds(mostSeconds: number): number {
  return Math.ceil(mostSeconds / 4)
}

/** A transcript may be reported by its LLM tokens alone: where seconds have a price they are guessed from the upload. */
export function withSeconds(usage: Usage, mostSeconds: number, { perSecondMicros }: Price): Usage {
  return usage.seconds > 0 || mostSeconds === 0 || perSecondMicros === 0
    ? usage
    : { ...usage, seconds: usualSeconds(mostSeconds), estimated: true }
}
