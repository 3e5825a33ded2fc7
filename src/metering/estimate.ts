import { isAscii } from 'node:buffer'
import type { Dialect } from '../dialects/dialect.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { count, tryCount } from './counting.ts'
import { SPOKEN_TOKENS_PER_SECOND } from './price.ts'
import { MAX_BOUND_BYTES } from './request-text.ts'
import type { StreamMeter } from './stream-meter.ts'

const MAX_ANSWER_BYTES = 10 * 1024 * 1024

/** What is known about an answer whose provider reported nothing. */
export interface EstimateFacts {
  dialect: Dialect
  /** Who pays: texts of one do not hold up those of others. */
  key?: string | undefined
  requestBody?: Buffer | undefined
  /** What was read of a streamed answer. */
  meter?: StreamMeter | undefined
  /** A whole answer that was no stream. */
  answer?: Buffer | undefined
  characters?: number | undefined
  seconds?: number | undefined
  images?: number | undefined
}

/** Our own count, for a request whose provider sent no usage report. */
export async function estimateUsage(facts: EstimateFacts): Promise<Usage> {
  if (facts.dialect.isFree) return NO_USAGE
  const { characters = 0, seconds = 0, images = 0 } = facts
  const input = await estimateInput(facts)
  const outputTokens = await estimateOutputTokens(facts)
  return { ...input, outputTokens, characters, seconds, images, estimated: true }
}

/** The input's part of `estimateUsage`: what the stream named at its start, else our count. */
export async function estimateInput({ dialect, key, requestBody, meter }: EstimateFacts): Promise<Usage> {
  return (
    meter?.startInput() ?? {
      ...NO_USAGE,
      inputTokens: requestBody ? await estimateInputTokens(dialect, requestBody, key) : 0,
    }
  )
}

async function estimateOutputTokens({
  dialect,
  key = '',
  meter,
  answer,
  seconds = 0,
}: EstimateFacts): Promise<number> {
  if (!dialect.answersInText) return 0
  if (meter) {
    const { text, share } = meter.outputText()
    return Math.ceil((await countTokens(text, key)) / share)
  }
  if (!answer || answer.length > MAX_ANSWER_BYTES)
    return dialect.countsSeconds ? Math.ceil(seconds * SPOKEN_TOKENS_PER_SECOND) : 0
  return count(key, { of: 'answer', dialect: dialect.name, body: answer })
}

/** LLM tokens of a JSON request, from its text; files count a flat 1,000 each. */
export async function estimateInputTokens(dialect: Dialect, body: Buffer, key = ''): Promise<number> {
  return dialect.isFree ? 0 : count(key, { of: 'request', body })
}

/**
 * How much more LLM tokens the models of a family make of a text than our tokenizer does, which is that of OpenAI's models
 * since 2024; `wide` for other letters than ASCII's, where they differ most. The first name that fits counts.
 */
const MARGINS: readonly { name: RegExp; ascii: number; wide: number }[] = [
  { name: /gpt-?(?:4o|4\.|5|6|oss)|chatgpt|\bo[1-9]\b/i, ascii: 1.1, wide: 1.15 },
  { name: /gpt-?[34]|davinci|babbage|embedding-(?:3|ada)/i, ascii: 1.25, wide: 2.5 },
  { name: /claude/i, ascii: 1.7, wide: 2.2 },
  { name: /gemini|gemma/i, ascii: 1.25, wide: 1.5 },
]
/** Of families that nobody has measured here. */
const OTHER_MARGIN = { ascii: 1.35, wide: 2.2 }
const ESCAPE = '\\u'

function marginOf(model: string, body: Buffer): number {
  const { ascii, wide } = MARGINS.find(({ name }) => name.test(model)) ?? OTHER_MARGIN
  return isAscii(body) && !body.includes(ESCAPE) ? ascii : wide
}

/** A request whose input is to be counted. */
export interface InputFacts {
  dialect: Dialect
  body: Buffer
  /** The models that may read it, as their providers call them: the one with the most tokens counts. */
  models: readonly string[]
  /** Who pays. */
  key: string
}

/**
 * The most LLM tokens that a request's input can be, counted on a thread of its own and with a margin for the models that
 * may read it: closer than by bytes, and dearer to know. Undefined: nobody could count it.
 */
export async function countInput({ dialect, body, models, key }: InputFacts): Promise<number | undefined> {
  if (dialect.isFree) return 0
  if (body.length > MAX_BOUND_BYTES) return undefined
  const margin = Math.max(...models.map((model) => marginOf(model, body)))
  return tryCount(key, { of: 'bound', body, margin })
}

/** LLM tokens of a text. Above 256 KiB a sample is counted. */
export async function countTokens(text: string, key = ''): Promise<number> {
  return text === '' ? 0 : count(key, { of: 'text', text })
}
