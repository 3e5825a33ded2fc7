import { isRecord, type JsonRecord } from '../json.ts'
import { NO_USAGE, type Usage, type UsageKind } from './usage-kinds.ts'

/** Beyond this a count is a mistake or an attack, not a report. */
const MAX_COUNT = 1_000_000_000

/** A provider's `usage` object in our words; undefined when it does not say what was used. */
export function readReport(kind: UsageKind, report: JsonRecord): Usage | undefined {
  if (report.type === 'duration') return readDuration(report.seconds)
  if (kind === 'embeddings' || kind === 'rerank') return readInputOnly(report)
  const usage =
    report.prompt_tokens === undefined ? readInputOutput(kind, report) : readPromptCompletion(report)
  return usage && isSane(usage) ? usage : undefined
}

/** Audio is paid by its length when the provider names no tokens. */
export function readDuration(seconds: unknown): Usage | undefined {
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= MAX_COUNT)) return undefined
  return { ...NO_USAGE, seconds }
}

const isSane = (usage: Usage) =>
  usage.inputTokens <= MAX_COUNT && usage.outputTokens <= MAX_COUNT && usage.outputTokens >= 0

/** A wrong type is no count: better estimated than believed. */
function count(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_COUNT)
    return undefined
  return value
}

function detail(report: JsonRecord, group: string, name: string): number | undefined {
  const details = report[group]
  return isRecord(details) ? count(details[name]) : undefined
}

/** Chat, legacy completions and everyone who imitates them. */
function readPromptCompletion(report: JsonRecord): Usage | undefined {
  const inputTokens = count(report.prompt_tokens)
  const total = count(report.total_tokens)
  if (inputTokens === undefined) return undefined
  // Gemini leaves `completion_tokens` out when it is zero.
  const absent = report.completion_tokens === undefined || report.completion_tokens === null
  const completion = absent ? restOf(total, inputTokens) : count(report.completion_tokens)
  if (completion === undefined) return undefined
  const reasoning = detail(report, 'completion_tokens_details', 'reasoning_tokens') ?? 0
  const beyond = tokensBeyond(total, inputTokens + completion, reasoning)
  const cached =
    detail(report, 'prompt_tokens_details', 'cached_tokens') ??
    count(report.prompt_cache_hit_tokens) ??
    count(report.cached_tokens) ??
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

const restOf = (total: number | undefined, part: number) =>
  total !== undefined && total >= part ? total - part : undefined

/** xAI reports reasoning beside the completion, Gemini only within the total: both are output that was paid for. */
function tokensBeyond(total: number | undefined, counted: number, reasoning: number): number {
  if (total === undefined || total <= counted) return 0
  const beyond = total - counted
  return reasoning === 0 || reasoning === beyond ? beyond : 0
}

/** Responses, Messages, audio and images. Anthropic counts cached input beside `input_tokens`, OpenAI within it. */
function readInputOutput(kind: UsageKind, report: JsonRecord): Usage | undefined {
  const input = count(report.input_tokens)
  const outputTokens = count(report.output_tokens)
  if (input === undefined || outputTokens === undefined) return undefined
  const cacheRead = count(report.cache_read_input_tokens) ?? 0
  const cacheWritten = count(report.cache_creation_input_tokens) ?? 0
  const beside = kind === 'messages' ? cacheRead + cacheWritten : 0
  const cached = kind === 'messages' ? cacheRead : cachedInput(report)
  const reasoning = detail(report, 'output_tokens_details', 'reasoning_tokens') ?? 0
  return {
    ...NO_USAGE,
    inputTokens: input + beside,
    cachedTokens: Math.min(cached, input + beside),
    outputTokens,
    reasoningTokens: Math.min(reasoning, outputTokens),
  }
}

/** The Realtime API writes the singular. */
const cachedInput = (report: JsonRecord) =>
  detail(report, 'input_tokens_details', 'cached_tokens') ??
  detail(report, 'input_token_details', 'cached_tokens') ??
  0

function readInputOnly(report: JsonRecord): Usage | undefined {
  const named = [report.prompt_tokens, report.input_tokens, report.total_tokens]
  const inputTokens = count(named.find((value) => value !== undefined && value !== null))
  return inputTokens === undefined ? undefined : { ...NO_USAGE, inputTokens }
}
