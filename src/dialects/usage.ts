import { isRecord, type JsonRecord } from '../json.ts'

/** A provider's own count of what one request used, in our words. */
export interface Usage {
  /** All input, the cached part included. */
  inputTokens: number
  cachedTokens: number
  /** All output, the reasoning part included. */
  outputTokens: number
  reasoningTokens: number
  seconds: number
  characters: number
  images: number
  /** True where we counted because the provider reported nothing. */
  estimated: boolean
}

export const NO_USAGE: Usage = {
  inputTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
  reasoningTokens: 0,
  seconds: 0,
  characters: 0,
  images: 0,
  estimated: false,
}

/** Beyond this a count is a mistake or an attack, not a report. */
const MAX_COUNT = 1_000_000_000

/** The input that a report of this dialect names: all of it, and the cached part. */
export type ReadInput = (report: JsonRecord) => { all: number | undefined; cached: number }

/** A provider's `usage` object in our words; undefined when it does not say what was used. */
export function readUsageReport(report: JsonRecord, readInput: ReadInput): Usage | undefined {
  if (report.type === 'duration') return readDuration(report.seconds)
  const usage =
    report.prompt_tokens === undefined ? readInputOutput(report, readInput) : readPromptCompletion(report)
  return usage && isSane(usage) ? usage : undefined
}

/** Audio is paid by its length when the provider names no tokens. */
export function readDuration(seconds: unknown): Usage | undefined {
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= MAX_COUNT)) return undefined
  return { ...NO_USAGE, seconds }
}

/** A wrong type is no count: better estimated than believed. */
export function readCount(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_COUNT)
    return undefined
  return value
}

/** A count among the details of a report. */
export function readDetail(report: JsonRecord, group: string, name: string): number | undefined {
  const details = report[group]
  return isRecord(details) ? readCount(details[name]) : undefined
}

function isSane(usage: Usage): boolean {
  return usage.inputTokens <= MAX_COUNT && usage.outputTokens <= MAX_COUNT && usage.outputTokens >= 0
}

/** Chat, legacy completions and everyone who imitates them. */
function readPromptCompletion(report: JsonRecord): Usage | undefined {
  const inputTokens = readCount(report.prompt_tokens)
  const total = readCount(report.total_tokens)
  if (inputTokens === undefined) return undefined
  // Gemini leaves `completion_tokens` out when it is zero.
  const absent = report.completion_tokens === undefined || report.completion_tokens === null
  const completion = absent ? restOf(total, inputTokens) : readCount(report.completion_tokens)
  if (completion === undefined) return undefined
  const reasoning = readDetail(report, 'completion_tokens_details', 'reasoning_tokens') ?? 0
  const beyond = tokensBeyond(total, inputTokens + completion, reasoning)
  const cached =
    readDetail(report, 'prompt_tokens_details', 'cached_tokens') ??
    readCount(report.prompt_cache_hit_tokens) ??
    readCount(report.cached_tokens) ??
    0
  const outputTokens = completion + beyond
  return {
    ...NO_USAGE,
    inputTokens,
    cachedTokens: Math.min(cached, inputTokens),
    outputTokens,
    reasoningTokens: Math.min(Math.max(reasoning, beyond), outputTokens),
  }
}

function restOf(total: number | undefined, part: number): number | undefined {
  return total !== undefined && total >= part ? total - part : undefined
}

/** xAI reports reasoning beside the completion, Gemini only within the total: both are output that was paid for. */
function tokensBeyond(total: number | undefined, counted: number, reasoning: number): number {
  if (total === undefined || total <= counted) return 0
  const beyond = total - counted
  return reasoning === 0 || reasoning === beyond ? beyond : 0
}

/** Responses, Messages, audio, images and realtime responses. */
function readInputOutput(report: JsonRecord, readInput: ReadInput): Usage | undefined {
  const { all, cached } = readInput(report)
  const outputTokens = readCount(report.output_tokens)
  if (all === undefined || outputTokens === undefined) return undefined
  const reasoning = readDetail(report, 'output_tokens_details', 'reasoning_tokens') ?? 0
  return {
    ...NO_USAGE,
    inputTokens: all,
    cachedTokens: Math.min(cached, all),
    outputTokens,
    reasoningTokens: Math.min(reasoning, outputTokens),
  }
}
