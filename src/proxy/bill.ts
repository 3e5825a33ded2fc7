import type { FastifyRequest } from 'fastify'
import { buildRow, type Outcome } from '../metering/settle.ts'
import { NO_USAGE, type Usage } from '../metering/usage-kinds.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import type { Step } from '../routing/plan.ts'
import type { Hold, Settlement, Token, UsageRow } from '../stores/token-store.ts'
import type { Ask } from './ask.ts'

/** One request's way to its usage row. */
export interface BillRequest {
  request: FastifyRequest
  token: Token
  endpoint: Endpoint
  ask: Ask
  hold: Hold
  /** Ends the hold, once. */
  settle(row: UsageRow): Promise<Settlement>
  markAnswered(row: UsageRow): void
  /** Milliseconds since 1970, and on the monotonic clock, when the request came. */
  at: number
  startedMs: number
}

/** Counts attempts and times, writes the row and tells the log line. */
export interface Bill {
  attempts(): number
  /** Who is being asked. */
  step(): Step | undefined
  /** Whatever came of the attempts before: nothing of it is in the row. */
  beginAttempt(step: Step): void
  noteFirstByte(): void
  /** From here on a crash charges what is known to be used. */
  markAnswered(status: number): void
  settle(status: number, usage: Usage | undefined): Promise<Settlement>
  /** The gateway's own response headers, as far as they are known before the body. */
  headers(): Record<string, string>
}

/** How far a request has come. */
interface Progress {
  attempts: number
  step: Step | undefined
  /** 0 until an answer has begun. */
  firstByteMs: number
}

export const openBill = (ask: BillRequest): Bill => {
  const progress: Progress = { attempts: 0, step: undefined, firstByteMs: 0 }
  return {
    attempts: () => progress.attempts,
    step: () => progress.step,
    beginAttempt(step) {
      progress.step = step
      progress.attempts += 1
      progress.firstByteMs = 0
    },
    noteFirstByte() {
      progress.firstByteMs = performance.now() - ask.startedMs
    },
    markAnswered(status) {
      ask.markAnswered(rowOf(ask, progress, { status, usage: leastUsage(ask.ask) }))
    },
    async settle(status, usage) {
      const row = rowOf(ask, progress, { status, usage })
      tellLine(ask.request, row, progress.step)
      const settlement = await ask.settle(row)
      ask.request.line.chargedMicros = settlement.chargedMicros
      return settlement
    },
    headers: () => headersOf(ask, progress),
  }
}

const rowOf = (ask: BillRequest, { step, attempts, firstByteMs }: Progress, outcome: Outcome): UsageRow => {
  const facts = {
    requestId: ask.request.id,
    tokenId: ask.token.id,
    user: ask.token.user,
    model: ask.ask.model,
    endpoint: ask.endpoint.path,
    at: ask.at,
  }
  const timing = { attempts, latencyMs: performance.now() - ask.startedMs, firstByteMs }
  if (!step || firstByteMs === 0) return buildRow(facts, timing, outcome)
  const { provider, upstreamModel, model } = step
  return buildRow(facts, timing, outcome, {
    provider: provider.name,
    modelUsed: upstreamModel,
    price: model.price,
  })
}

const headersOf = ({ hold }: BillRequest, { step, attempts }: Progress): Record<string, string> => ({
  'x-gateway-attempts': String(attempts),
  'x-gateway-credits-remaining': String(hold.balanceMicros / 1e6),
  ...(step
    ? { 'x-gateway-provider': step.provider.name, 'x-gateway-model': headerText(step.upstreamModel) }
    : {}),
})

/** What is known of the credits once the bill is settled; undefined: it is still on its way. */
export const creditHeaders = (settlement: Settlement | undefined): Record<string, string> =>
  settlement
    ? {
        'x-gateway-credits-charged': String(settlement.chargedMicros / 1e6),
        'x-gateway-credits-remaining': String(settlement.balanceMicros / 1e6),
      }
    : {}

/** A wildcard lets clients name models in any script; a header takes ASCII, anything else would break the answer. */
const headerText = (name: string): string =>
  /^[\x20-\x7e]*$/.test(name) ? name : encodeURI(name.toWellFormed())

/** What is known to be used once an answer has begun. */
const leastUsage = ({ inputTokens, images, characters }: Ask): Usage => ({
  ...NO_USAGE,
  inputTokens: Math.ceil(inputTokens / 4),
  images,
  characters,
  estimated: true,
})

const tellLine = ({ line }: FastifyRequest, row: UsageRow, step: Step | undefined): void => {
  line.provider = step?.provider.name
  line.modelUsed = step?.upstreamModel
  line.attempts = row.attempts
  line.status = row.status
  line.inputTokens = row.inputTokens
  line.cachedTokens = row.cachedTokens
  line.outputTokens = row.outputTokens
  line.reasoningTokens = row.reasoningTokens
  line.estimated = row.estimated
  line.firstByteMs = Math.round(row.firstByteMs * 10) / 10
}
