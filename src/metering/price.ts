import type { Price } from '../config/catalog/catalog.ts'
import type { Dialect } from '../dialects/dialect.ts'
import type { Usage } from '../dialects/usage.ts'

/** A fraction below this is the noise of binary floats (0.1 + 0.2), not a part of a micro-credit. */
const NOISE_MICROS = 1e-6
const NOISE_RATIO = 4e-15

/** As many prompts as a body holds, with as many answers each. */
const MAX_CHOICES = 1e9
/** Fast speech in any language: bounds a transcript, and stands for one that nobody can read. */
export const SPOKEN_TOKENS_PER_SECOND = 4
/** A common average of text: the least is enough to begin with, no bound. */
const BYTES_PER_TOKEN = 4

/** What the usage costs: whole micro-credits, rounded up once, at the end. */
export function costMicros(usage: Usage, price: Price): number {
  const cached = Math.min(positive(usage.cachedTokens), positive(usage.inputTokens))
  const micros =
    times(positive(usage.inputTokens) - cached, price.inputMicros) +
    times(cached, price.cachedInputMicros) +
    times(usage.outputTokens, price.outputMicros) +
    times(usage.seconds, price.perSecondMicros) +
    times(usage.characters, price.perCharacterMicros) +
    times(usage.images, price.perImageMicros)
  return Math.min(roundUp(micros), Number.MAX_SAFE_INTEGER)
}

function positive(value: number) {
  return Number.isNaN(value) ? 0 : Math.max(value, 0)
}

/** Nothing times anything is nothing, also when the other is no number. */
function times(amount: number, micros: number) {
  return positive(amount) && positive(micros) && amount * micros
}

function roundUp(micros: number): number {
  if (micros === 0) return 0
  const nearest = Math.round(micros)
  const noise = Math.max(NOISE_MICROS, micros * NOISE_RATIO)
  const whole = Math.abs(micros - nearest) <= noise ? nearest : Math.ceil(micros)
  return Math.max(whole, 1)
}

/** What can be known about a request's price before anybody answers it. */
export interface CostFacts {
  dialect: Dialect
  /** An upper bound, as `inputBound` counts it. */
  inputTokens: number
  /** The input has at least so many LLM tokens, where more is known than its upper bound. */
  leastInputTokens?: number | undefined
  /** The client's own limit on one answer. */
  outputLimit?: number | undefined
  /** How many answers it wants: `n` of each prompt. */
  choices: number
  images: number
  characters: number
  seconds: number
}

/** The most that the request can cost: this much is held before a provider is asked. */
export function worstCaseMicros(facts: CostFacts, price: Price, maxOutput: number): number {
  if (facts.dialect.isFree) return 0
  const usage = usageOf(facts, facts.inputTokens, mostOutput(facts, maxOutput))
  // All tokens may be cached ones where those are the dearer.
  if (price.cachedInputMicros > price.inputMicros) usage.cachedTokens = usage.inputTokens
  return costMicros(usage, price)
}

/** What is enough to begin with, for a balance that does not cover the worst case. */
export function leastMicros(facts: CostFacts, price: Price): number {
  if (facts.dialect.isFree) return 0
  const inputTokens = Math.max(Math.ceil(facts.inputTokens / BYTES_PER_TOKEN), facts.leastInputTokens ?? 0)
  return costMicros(
    usageOf(facts, inputTokens, facts.dialect.hasOutput ? atLeastOne(facts.choices) : 0),
    price,
  )
}

function usageOf(
  { images, characters, seconds }: CostFacts,
  inputTokens: number,
  outputTokens: number,
): Usage {
  return {
    inputTokens,
    cachedTokens: 0,
    outputTokens,
    reasoningTokens: 0,
    seconds,
    characters,
    images,
    estimated: true,
  }
}

function mostOutput(facts: CostFacts, maxOutput: number): number {
  const { dialect } = facts
  if (!dialect.hasOutput) return 0
  // Zero and -1 mean "no limit" to some providers.
  const isLimit = Number.isInteger(facts.outputLimit) && (facts.outputLimit ?? 0) > 0
  const each = isLimit ? Math.min(facts.outputLimit ?? 0, maxOutput) : maxOutput
  // A transcript is counted here where the provider reports its length alone: no model's limit bounds it.
  if (dialect.countsSeconds) return Math.max(each, Math.ceil(facts.seconds * SPOKEN_TOKENS_PER_SECOND))
  return each * Math.max(atLeastOne(facts.choices), dialect.countsImages ? atLeastOne(facts.images) : 1)
}

function atLeastOne(count: number) {
  return count >= 1 ? Math.min(count, MAX_CHOICES) : 1
}
