import { setImmediate } from 'node:timers/promises'
import type { Price } from '../config/models.ts'
import { textOfAnswer } from './answer-text.ts'
import { textOfRequest } from './request-text.ts'
import type { StreamMeter } from './stream-meter.ts'
import { NO_USAGE, type Usage, type UsageKind } from './usage-kinds.ts'
import { SPOKEN_TOKENS_PER_SECOND } from './worst-case.ts'

const MAX_ANSWER_BYTES = 10 * 1024 * 1024
/** The tokenizer is quadratic on long runs of one letter; in slices of this length it is not. */
const SLICE_CHARS = 2048
/** After so much the event loop gets its turn (about 4 ms). */
const TURN_CHARS = 64 * 1024
const SAMPLED_FROM_CHARS = 256 * 1024
const SAMPLE_SLICES = 64
const AS_PLAIN_TEXT = { disallowedSpecial: new Set<string>() }

/** What is known about an answer whose provider reported nothing. */
export interface EstimateFacts {
  kind: UsageKind
  requestBody?: Buffer | undefined
  /** Of a streamed answer. */
  meter?: StreamMeter | undefined
  /** A whole answer that was no stream. */
  answer?: Buffer | undefined
  characters?: number | undefined
  seconds?: number | undefined
  images?: number | undefined
}

/** Images and audio may be reported by number or length alone: where LLM tokens have a price too, these are missing. */
export const lacksTokens = (kind: UsageKind, usage: Usage, price: Price): boolean =>
  (kind === 'images' || kind === 'speech' || kind === 'transcription') &&
  usage.inputTokens + usage.outputTokens === 0 &&
  price.inputMicros + price.outputMicros > 0

/** Of the most seconds that an upload's bytes can hold: as many as recorded speech usually has. */
export const usualSeconds = (mostSeconds: number): number => Math.ceil(mostSeconds / 4)

/** A transcript may be reported by its LLM tokens alone: where seconds have a price they are guessed from the upload. */
export const withSeconds = (usage: Usage, mostSeconds: number, { perSecondMicros }: Price): Usage =>
  usage.seconds > 0 || mostSeconds === 0 || perSecondMicros === 0
    ? usage
    : { ...usage, seconds: usualSeconds(mostSeconds), estimated: true }

/** Our own count, for a request whose provider sent no usage report. */
export async function estimateUsage(facts: EstimateFacts): Promise<Usage> {
  if (facts.kind === 'free') return NO_USAGE
  const { characters = 0, seconds = 0, images = 0 } = facts
  const input = await estimateInput(facts)
  const outputTokens = await estimateOutputTokens(facts)
  return { ...input, outputTokens, characters, seconds, images, estimated: true }
}

/** The input's part of `estimateUsage`: what the stream named at its start, else our count. */
export const estimateInput = async ({ kind, requestBody, meter }: EstimateFacts): Promise<Usage> =>
  meter?.startInput() ?? {
    ...NO_USAGE,
    inputTokens: requestBody ? await estimateInputTokens(kind, requestBody) : 0,
  }

async function estimateOutputTokens({ kind, meter, answer, seconds = 0 }: EstimateFacts): Promise<number> {
  if (kind === 'embeddings' || kind === 'rerank' || kind === 'images' || kind === 'speech') return 0
  if (meter) {
    const { text, share } = meter.outputText()
    return Math.ceil((await countTokens(text)) / share)
  }
  if (!answer || answer.length > MAX_ANSWER_BYTES)
    return kind === 'transcription' ? Math.ceil(seconds * SPOKEN_TOKENS_PER_SECOND) : 0
  return countTokens(textOfAnswer(kind, answer.toString()))
}

/** LLM tokens of a JSON request, from its text; files count a flat 1,000 each. */
export async function estimateInputTokens(kind: UsageKind, body: Buffer): Promise<number> {
  if (kind === 'free') return 0
  const { text, tokens } = textOfRequest(body)
  return tokens + (await countTokens(text))
}

/** LLM tokens of a text. Above 256 KiB a sample is counted: the answer comes in milliseconds at any length. */
export async function countTokens(text: string): Promise<number> {
  if (text === '') return 0
  if (text.length <= SAMPLED_FROM_CHARS) return countSlices(text, SLICE_CHARS)
  const step = Math.floor(text.length / SAMPLE_SLICES)
  const tokens = await countSlices(text, step)
  const sampled = Math.ceil(text.length / step) * SLICE_CHARS
  return Math.ceil((tokens * text.length) / sampled)
}

async function countSlices(text: string, step: number): Promise<number> {
  // Loaded at the first need: its table takes 100 ms and 100 MB, and most providers count for themselves.
  const tokenizer = await import('gpt-tokenizer/encoding/o200k_base')
  let tokens = 0
  let turn = 0
  for (let at = 0; at < text.length; at += step) {
    tokens += tokenizer.countTokens(text.slice(at, at + SLICE_CHARS), AS_PLAIN_TEXT)
    turn += SLICE_CHARS
    if (turn >= TURN_CHARS) {
      turn = 0
      await setImmediate()
    }
  }
  return tokens
}
