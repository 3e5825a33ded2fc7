import type { Price } from '../config/models.ts'
import type { Settlement, UsageRow } from '../stores/token-store.ts'
import { costMicros } from './price.ts'
import { NO_USAGE, type Usage } from './usage-kinds.ts'

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

export const buildRow = (
  facts: RequestFacts,
  timing: Timing,
  outcome: Outcome,
  answerer?: Answerer,
): UsageRow => {
  const usage = outcome.usage ?? NO_USAGE
  return {
    ...facts,
    ...timing,
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

type Settle = (holdId: number, row: UsageRow) => Promise<Settlement>

/** Ends one hold exactly once, whoever asks first; later calls get the first one's result. */
export const createSettler = (settle: Settle, holdId: number): ((row: UsageRow) => Promise<Settlement>) => {
  let settled: Promise<Settlement> | undefined
  return (row) => {
    settled ??= settle(holdId, row)
    return settled
  }
}
