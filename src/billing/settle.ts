import type { Price } from '../config/catalog/catalog.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { costMicros } from '../metering/price.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'

/** How a request ended. */
export interface Outcome {
  /** What the client saw; 499 when it left first. */
  status: number
  /** Undefined: nothing that costs. */
  usage: Usage | undefined
}

/** Who answered, once somebody has. */
export interface Answerer {
  provider: string
  modelUsed: string
  price: Price
}

/** What is known of a request before it ends. */
export interface RequestFacts {
  requestId: string
  tokenId: string
  user: string
  model: string
  endpoint: string
  /** Milliseconds since 1970. */
  at: number
}

export interface Timing {
  attempts: number
  latencyMs: number
  firstByteMs: number
}

export function buildRow(
  facts: RequestFacts,
  timing: Timing,
  outcome: Outcome,
  answerer?: Answerer,
): UsageRow {
  const usage = outcome.usage ?? NO_USAGE
  return {
    requestId: facts.requestId,
    tokenId: facts.tokenId,
    user: facts.user,
    model: facts.model,
    endpoint: facts.endpoint,
    at: facts.at,
    attempts: timing.attempts,
    latencyMs: timing.latencyMs,
    firstByteMs: timing.firstByteMs,
    status: outcome.status,
    provider: answerer?.provider ?? '',
    modelUsed: answerer?.modelUsed ?? '',
    inputTokens: usage.inputTokens,
    cachedTokens: usage.cachedTokens,
    outputTokens: usage.outputTokens,
    reasoningTokens: usage.reasoningTokens,
    seconds: usage.seconds,
    characters: usage.characters,
    images: usage.images,
    estimated: usage.estimated,
    costMicros: answerer && outcome.usage ? costMicros(usage, answerer.price) : 0,
  }
}
