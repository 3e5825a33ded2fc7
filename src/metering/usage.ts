import { isRecord, type JsonRecord, lastObject, parseJson, valueStart } from '../json.ts'
import { lineAround } from './lines.ts'
import { NO_USAGE, type Usage, type UsageKind } from './usage-kinds.ts'
import { readDuration, readReport } from './usage-report.ts'

/** Parsing all of an answer up to this size is as fast as searching it. */
const SMALL_BYTES = 1024
/** How far from the end the report is looked for: nearly always it is near, but metadata may follow it. */
const TAIL_BYTES = [2048, 16 * 1024]
const MAX_PARSED_BYTES = 10 * 1024 * 1024
const KEY = '"usage"'

/** What a JSON answer, or its last bytes, says was used; undefined when it says nothing credible. */
export function readUsage(kind: UsageKind, body: Buffer): Usage | undefined {
  if (kind === 'free') return NO_USAGE
  if (kind === 'images') return readImages(body)
  const report = body.length > SMALL_BYTES ? reportAtEnd(body) : undefined
  if (report) return readReport(kind, report)
  if (body.length > MAX_PARSED_BYTES) return undefined
  const answer = parseJson(body.toString())
  return isRecord(answer) ? readAnswer(kind, answer) : undefined
}

function reportAtEnd(body: Buffer): JsonRecord | undefined {
  for (const bytes of TAIL_BYTES) {
    const report = lastObject(body.subarray(-bytes).toString('latin1'), 'usage', 1)
    if (report) return report
  }
  return undefined
}

function readAnswer(kind: UsageKind, answer: JsonRecord): Usage | undefined {
  const report = reportIn(answer)
  if (report) return readReport(kind, report)
  if (kind === 'transcription') return readDuration(answer.duration)
  if (kind === 'rerank' || kind === 'embeddings') return readBilledUnits(answer.meta)
  return undefined
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

/** Cohere. Search units alone are no LLM tokens: those answers are estimated. */
function readBilledUnits(meta: unknown): Usage | undefined {
  if (!isRecord(meta)) return undefined
  for (const units of [meta.billed_units, meta.tokens]) {
    const usage = isRecord(units) ? readReport('rerank', units) : undefined
    if (usage) return usage
  }
  return undefined
}

/** Image answers are megabytes of base64: they are counted by their keys, never parsed. */
function readImages(body: Buffer): Usage | undefined {
  const report = body.length > SMALL_BYTES ? reportAtEnd(body) : smallReport(body)
  const images = countKey(body, '"b64_json"') || countKey(body, '"url"')
  const usage = report && readReport('images', report)
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
export function readStreamUsage(kind: UsageKind, head: Buffer, tail: Buffer): Usage | undefined {
  if (kind === 'free') return NO_USAGE
  const last = lastStreamReport(kind, tail.toString('latin1'))
  if (kind === 'messages') return last && readReport(kind, withStart(head, last))
  const usage = last && readReport(kind, last)
  return usage && kind === 'images' ? { ...usage, images: 1 } : usage
}

/** The input that Anthropic's first event names: all there is when a stream ends early. */
export function readStreamInput(kind: UsageKind, head: Buffer): Usage | undefined {
  const report = kind === 'messages' ? startReport(head) : undefined
  return report && readReport(kind, { ...report, output_tokens: 0 })
}

/** `message_start` names the input, `message_delta` the output and with some providers the true input. */
function withStart(head: Buffer, last: JsonRecord): JsonRecord {
  const merged: JsonRecord = { ...startReport(head) }
  for (const [name, value] of Object.entries(last)) {
    if (value !== null && (value !== 0 || merged[name] === undefined)) merged[name] = value
  }
  // A start's `output_tokens` is a placeholder; a delta's zero is not.
  merged.output_tokens = last.output_tokens
  return merged
}

function startReport(head: Buffer): JsonRecord | undefined {
  const text = head.toString('latin1')
  const at = text.indexOf('"message_start"')
  const event = at === -1 ? undefined : parseLine(lineAround(text, at).line)
  return event && isRecord(event.message) ? reportIn(event) : undefined
}

function lastStreamReport(kind: UsageKind, text: string): JsonRecord | undefined {
  let at = text.lastIndexOf(KEY)
  while (at !== -1) {
    if (valueStart(text, at + KEY.length) !== -1) {
      const { start, line } = lineAround(text, at)
      const report = line.startsWith('data:') ? reportInLine(kind, line) : cutReport(kind, start, line)
      if (report) return report
      at = start
    }
    at = at === 0 ? -1 : text.lastIndexOf(KEY, at - 1)
  }
  return undefined
}

function reportInLine(kind: UsageKind, line: string): JsonRecord | undefined {
  const event = parseLine(line)
  if (!event || (kind === 'messages' && event.type !== 'message_delta')) return undefined
  return reportIn(event)
}

/** The kept bytes begin inside this line: an end event that repeats the whole answer. */
function cutReport(kind: UsageKind, start: number, line: string): JsonRecord | undefined {
  return start === 0 ? lastObject(line, 'usage', kind === 'responses' ? 2 : 1) : undefined
}

/** Read as Latin-1: only ASCII keys and numbers are looked at. */
function parseLine(line: string): JsonRecord | undefined {
  const event = parseJson(line.slice(5))
  return isRecord(event) ? event : undefined
}
