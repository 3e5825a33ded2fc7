import type { Price } from '../config/catalog/catalog.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { isRecord, type JsonRecord, lastObject, parseJson } from '../json.ts'
import { type Found, findReport } from './report-finder.ts'
import { dataLines } from './sse.ts'

/** Parsing all of an answer up to this size is as fast as searching it. */
const SMALL_BYTES = 1024
/** How far from the end the report is looked for: nearly always it is near, but metadata may follow it. */
const TAIL_BYTES = [2048, 16 * 1024]
const MAX_PARSED_BYTES = 10 * 1024 * 1024

/** What a JSON answer says was used; undefined when it says nothing credible. */
export function readUsage(dialect: Dialect, body: Buffer): Usage | undefined {
  if (dialect.isFree) return NO_USAGE
  if (dialect.countsImages) return readImages(dialect, body)
  const report = body.length > SMALL_BYTES ? reportAtEnd(body) : undefined
  const usage = report && dialect.readReport(report)
  if (usage || body.length > MAX_PARSED_BYTES) return usage
  const answer = parseJson(body.toString())
  return isRecord(answer) ? readAnswer(dialect, answer) : undefined
}

/** What is known of a JSON answer that passed and was not kept: what was found in it, and its first and last bytes. */
export interface Passed {
  found: readonly Found[]
  head: Buffer
  tail: Buffer
}

/** The same of an answer that was too long to be kept. */
export function readPassedUsage(dialect: Dialect, { found, head, tail }: Passed): Usage | undefined {
  if (dialect.isFree) return NO_USAGE
  const report = found.at(-1)
  const usage = isRecord(report) ? dialect.readReport(report) : undefined
  if (usage) return usage
  const duration = LEADING_DURATION.exec(head.toString('latin1'))?.[1]
  const meta = lastObject(tail.toString('latin1'), 'meta', 1)
  return dialect.readUnreported({ meta, duration: duration === undefined ? undefined : Number(duration) })
}

/** `duration` before any nested value: so a transcript begins. */
const LEADING_DURATION =
  /^\s*\{(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|-?[\d.]+|true|false|null)\s*,)*?\s*"duration"\s*:\s*(\d+(?:\.\d+)?)/

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
  const report = body.length > SMALL_BYTES ? (reportAtEnd(body) ?? findReport(body)) : smallReport(body)
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

/**
 * What the reports say that were found in a stream; the last one wins, and earlier ones fill its gaps. Of images each has
 * one, `count` in all.
 */
export function readStreamUsage(
  dialect: Dialect,
  found: readonly Found[],
  count = found.length,
): Usage | undefined {
  if (dialect.isFree) return NO_USAGE
  const reports = found.flatMap((each) => reportsOf(dialect, each))
  const last = reports.at(-1)
  if (!last) return undefined
  const usage =
    dialect.startType === undefined
      ? lastWord(dialect, reports, last)
      : // A start's `output_tokens` is a placeholder; a delta's zero is not.
        dialect.readReport({
          ...withStart(startReport(dialect, found), last),
          output_tokens: last.output_tokens,
        })
  return usage && dialect.countsImages ? { ...usage, images: Math.max(1, count) } : usage
}

/** The input that a first event names, such as Anthropic's: all there is when a stream ends early. */
export function readStreamInput(dialect: Dialect, found: readonly Found[]): Usage | undefined {
  const report = startReport(dialect, found)
  return report && dialect.readReport({ ...report, output_tokens: 0 })
}

/** Most reports are of all so far; some of the input in one event and of the output in another. */
function lastWord(dialect: Dialect, reports: readonly JsonRecord[], last: JsonRecord): Usage | undefined {
  const joined = reports.reduce(withStart, {})
  const usage = dialect.readReport(last) ?? dialect.readReport(joined)
  if (!usage || (usage.inputTokens > 0 && usage.outputTokens > 0) || reports.length === 1) return usage
  const whole = dialect.readReport(joined)
  return whole && whole.inputTokens + whole.outputTokens > usage.inputTokens + usage.outputTokens
    ? whole
    : usage
}

/** `message_start` names the input, `message_delta` the output and with some providers the true input. */
function withStart(start: JsonRecord | undefined, last: JsonRecord): JsonRecord {
  const merged: JsonRecord = { ...start }
  for (const [name, value] of Object.entries(last)) {
    if (value !== null && (value !== 0 || merged[name] === undefined)) merged[name] = value
  }
  return merged
}

function startReport({ startType }: Dialect, found: readonly Found[]): JsonRecord | undefined {
  if (startType === undefined) return undefined
  for (const each of found) {
    const event = typeof each === 'string' ? eventsIn(each).find(({ type }) => type === startType) : undefined
    if (event && isRecord(event.message)) return reportIn(event)
  }
  return undefined
}

function reportsOf(dialect: Dialect, found: Found): JsonRecord[] {
  if (typeof found !== 'string') return [found]
  const events = eventsIn(found).filter((event) => dialect.isLastWord(event))
  return events.map(reportIn).filter(isRecord)
}

/** Read as Latin-1: only ASCII keys and numbers are looked at. Some write one event a line, without an empty one between. */
function eventsIn(text: string): JsonRecord[] {
  const lines = dataLines(text)
  const whole = parseJson(lines.join('\n'))
  return (whole === undefined ? lines.map((line) => parseJson(line)) : [whole]).filter(isRecord)
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
