import type { Price } from '../config/catalog/catalog.ts'
import { costMicros } from './price.ts'
import type { Usage, UsageKind } from './usage-kinds.ts'

const MAX_OUTPUT_LIMIT = 10_000_000
const MAX_CHOICES = 10_000
/** Fast speech in any language: bounds a transcript, and stands for one that nobody can read. */
export const SPOKEN_TOKENS_PER_SECOND = 4
/** A common average of text: the least is enough to begin with, no bound. */
const BYTES_PER_TOKEN = 4

/** What can be known about a request's price before anybody answers it. */
export interface RequestFacts {
  kind: UsageKind
  /** An upper bound, as of `inputBound`. */
  inputTokens: number
  /** The input has at least so many LLM tokens, where more is known than its upper bound. */
  leastInputTokens?: number | undefined
  /** The client's own limit on one answer. */
  outputLimit?: number | undefined
  /** How many answers it wants (`n`). */
  choices: number
  images: number
  characters: number
  seconds: number
}

/** The most that the request can cost: this much is held before a provider is asked. */
export function worstCaseMicros(facts: RequestFacts, price: Price, maxOutput: number): number {
  if (facts.kind === 'free') return 0
  const usage = usageOf(facts, facts.inputTokens, mostOutput(facts, maxOutput))
  // All tokens may be cached ones where those are the dearer.
  if (price.cachedInputMicros > price.inputMicros) usage.cachedTokens = usage.inputTokens
  return costMicros(usage, price)
}

/** What is enough to begin with, for a balance that does not cover the worst case. */
export function leastMicros(facts: RequestFacts, price: Price): number {
  if (facts.kind === 'free') return 0
  const inputTokens = Math.max(Math.ceil(facts.inputTokens / BYTES_PER_TOKEN), facts.leastInputTokens ?? 0)
  return costMicros(usageOf(facts, inputTokens, hasOutput(facts) ? 1 : 0), price)
}

const usageOf = (
  { images, characters, seconds }: RequestFacts,
  inputTokens: number,
  outputTokens: number,
): Usage => ({
  inputTokens,
  cachedTokens: 0,
  outputTokens,
  reasoningTokens: 0,
  seconds,
  characters,
  images,
  estimated: true,
})

const hasOutput = ({ kind }: RequestFacts) => kind !== 'embeddings' && kind !== 'rerank'

function mostOutput(facts: RequestFacts, maxOutput: number): number {
  if (!hasOutput(facts)) return 0
  // Zero and -1 mean "no limit" to some providers.
  const isLimit = Number.isInteger(facts.outputLimit) && (facts.outputLimit ?? 0) > 0
  const each = isLimit ? Math.min(facts.outputLimit ?? 0, MAX_OUTPUT_LIMIT) : maxOutput
  // A transcript is counted here where the provider reports its length alone: no model's limit bounds it.
  if (facts.kind === 'transcription')
    return Math.max(each, Math.ceil(facts.seconds * SPOKEN_TOKENS_PER_SECOND))
  return each * Math.max(atLeastOne(facts.choices), facts.kind === 'images' ? atLeastOne(facts.images) : 1)
}

const atLeastOne = (count: number) => (count >= 1 ? Math.min(count, MAX_CHOICES) : 1)
