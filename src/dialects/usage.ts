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
  /** True where we counted because the provider reported nothing, or where its report contradicts itself. */
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
/** No model thinks longer: a total that is larger by more has another reason. */
const MOST_HIDDEN_THOUGHTS = 131_072

/** What a report names, before it is known which parts stand beside which. */
export interface NamedParts {
  input: number | undefined
  output: number | undefined
  total: number | undefined
  reasoning: number
  /** Input that was read from a cache, or written to one. */
  cacheRead: number
  cacheWritten: number
  /** In this format thoughts may stand in the total alone (Gemini). */
  mayHideThoughts: boolean
  /** Sound in the input may stand in the total alone (Mistral). */
  hasSound: boolean
}

/** The parts that a report of this dialect names when it does not use Chat's words. */
export type ReadParts = (report: JsonRecord) => NamedParts

/** A provider's `usage` object in our words; undefined when it does not say what was used. */
export function readUsageReport(report: JsonRecord, readParts: ReadParts): Usage | undefined {
  if (report.type === 'duration') return readDuration(report.seconds)
  const chat = isThere(report.prompt_tokens) || isThere(report.completion_tokens)
  const named = chat ? settleParts(readChatParts(report)) : undefined
  const own = isThere(report.input_tokens) ? settleParts(readParts(report)) : undefined
  const usage = named && own ? larger(named, own) : (named ?? own)
  if (!usage || !isSane(usage)) return undefined
  const seconds = readCount(report.prompt_audio_seconds)
  return seconds ? { ...usage, seconds } : usage
}

/** Audio is paid by its length when the provider names no tokens. */
export function readDuration(seconds: unknown): Usage | undefined {
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= MAX_COUNT)) return undefined
  return { ...NO_USAGE, seconds }
}

/** Some write their numbers as strings; another wrong type is no count: better estimated than believed. */
export function readCount(value: unknown): number | undefined {
  const count = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : value
  if (typeof count !== 'number' || !Number.isInteger(count) || count < 0 || count > MAX_COUNT)
    return undefined
  return count
}

/** A count among the details of a report. */
export function readDetail(report: JsonRecord, group: string, name: string): number | undefined {
  const details = report[group]
  return isRecord(details) ? readCount(details[name]) : undefined
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null
}

function isSane(usage: Usage): boolean {
  return usage.inputTokens <= MAX_COUNT && usage.outputTokens <= MAX_COUNT
}

/** Routers fill in both vocabularies, and leave one of them at zero. */
function larger(one: Usage, other: Usage): Usage {
  return other.inputTokens + other.outputTokens > one.inputTokens + one.outputTokens ? other : one
}

/** Chat, legacy completions and everyone who imitates them. */
function readChatParts(report: JsonRecord): NamedParts {
  const total = readCount(report.total_tokens)
  const cached =
    readDetail(report, 'prompt_tokens_details', 'cached_tokens') ??
    readCount(report.prompt_cache_hit_tokens) ??
    readCount(report.cached_tokens) ??
    0
  const output = readCount(report.completion_tokens)
  return {
    input: isThere(report.prompt_tokens) ? readCount(report.prompt_tokens) : less(total, output),
    // Gemini leaves `completion_tokens` out when it is zero.
    output: isThere(report.completion_tokens) || total === undefined ? output : 0,
    total,
    reasoning: readDetail(report, 'completion_tokens_details', 'reasoning_tokens') ?? 0,
    cacheRead: Math.max(cached, readCount(report.cache_read_input_tokens) ?? 0),
    cacheWritten: readCount(report.cache_creation_input_tokens) ?? 0,
    mayHideThoughts:
      readCount(report.prompt_tokens) !== 0 &&
      !isThere(report.cache_read_input_tokens) &&
      !isThere(report.cache_creation_input_tokens),
    hasSound: (readCount(report.prompt_audio_seconds) ?? 0) > 0,
  }
}

function less(total: number | undefined, part: number | undefined): number | undefined {
  return total === undefined || part === undefined || total < part ? undefined : total - part
}

/**
 * Puts the parts together. Whether the cached input and the thoughts are in the larger counts or beside them is said by
 * nobody but the total: the reading that adds up to it is right. Where none does, what is named is charged, and flagged.
 */
function settleParts(parts: NamedParts): Usage | undefined {
  const { input, output, total, reasoning, cacheRead } = parts
  if (input === undefined || output === undefined) return undefined
  const beside = total === undefined ? besideAlone(parts) : besideWithin(parts, total - input - output)
  const inputTokens = input + beside.input
  const outputTokens = output + beside.output
  // What is more than all input says nothing about which part of it was cheap.
  const isCacheCredible = cacheRead <= inputTokens
  return {
    ...NO_USAGE,
    inputTokens,
    cachedTokens: isCacheCredible ? cacheRead : 0,
    outputTokens,
    reasoningTokens: Math.min(Math.max(reasoning, beside.output), outputTokens),
    estimated: !(beside.isSure && isCacheCredible && reasoning <= outputTokens),
  }
}

/** What stands beside a report's input and output. */
interface Beside {
  input: number
  output: number
  isSure: boolean
}

const NOTHING_BESIDE: Beside = { input: 0, output: 0, isSure: true }
const UNEXPLAINED: Beside = { input: 0, output: 0, isSure: false }

/** No total says so, but what is more than the whole can only be beside it. */
function besideAlone({ input = 0, output = 0, reasoning, cacheRead, cacheWritten }: NamedParts): Beside {
  const isCacheBeside = cacheRead > input
  const isReasoningBeside = reasoning > output
  if (!isCacheBeside && !isReasoningBeside) return NOTHING_BESIDE
  return {
    input: isCacheBeside ? cacheRead + cacheWritten : 0,
    output: isReasoningBeside ? reasoning : 0,
    isSure: false,
  }
}

/** Which of the reasoning, the cache's reading and its writing stand beside: the likelier come first. */
const SPLITS = [
  [true, false, false],
  [false, true, false],
  [false, true, true],
  [false, false, true],
  [true, true, false],
  [true, true, true],
] as const

function besideWithin(parts: NamedParts, surplus: number): Beside {
  if (surplus === 0) return NOTHING_BESIDE
  if (surplus < 0) return UNEXPLAINED
  for (const [isReasoning, isRead, isWritten] of SPLITS) {
    const output = isReasoning ? parts.reasoning : 0
    const input = (isRead ? parts.cacheRead : 0) + (isWritten ? parts.cacheWritten : 0)
    if (input + output === surplus) return { input, output, isSure: true }
  }
  if (parts.hasSound) return { input: surplus, output: 0, isSure: true }
  const isThought = parts.mayHideThoughts && parts.reasoning === 0 && parts.cacheRead <= (parts.input ?? 0)
  return isThought && surplus <= MOST_HIDDEN_THOUGHTS
    ? { input: 0, output: surplus, isSure: true }
    : UNEXPLAINED
}
