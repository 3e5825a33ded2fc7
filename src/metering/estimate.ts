import type { Dialect } from '../dialects/dialect.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { count } from './counting.ts'
import { SPOKEN_TOKENS_PER_SECOND } from './price.ts'
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

/** Other tokenizers than ours count a text differently: by up to this much more. */
const COUNT_MARGIN = 1.3

/** A closer bound of a request's input than `inputBound`, at the cost of counting it. */
export async function boundInput(dialect: Dialect, body: Buffer, key = ''): Promise<number> {
  return Math.ceil((await estimateInputTokens(dialect, body, key)) * COUNT_MARGIN)
}

/** LLM tokens of a text. Above 256 KiB a sample is counted. */
export async function countTokens(text: string, key = ''): Promise<number> {
  return text === '' ? 0 : count(key, { of: 'text', text })
}
