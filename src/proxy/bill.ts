import type { FastifyRequest } from 'fastify'
import { buildRow } from '../metering/settle.ts'
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
  attempts: number
  /** Who is being asked, and whether an answer of it has begun. */
  step: Step | undefined
  noteFirstByte(): void
  /** From here on a crash charges what is known to be used. */
  markAnswered(status: number): void
  settle(status: number, usage: Usage | undefined): Promise<Settlement>
  /** The gateway's own response headers, as far as they are known before the body. */
  headers(): Record<string, string>
}

export const openBill = (ask: BillRequest): Bill => {
  let firstByteMs = 0

  const rowOf = (status: number, usage: Usage | undefined): UsageRow => {
    const facts = {
      requestId: ask.request.id,
      tokenId: ask.token.id,
      user: ask.token.user,
      model: ask.ask.model,
      endpoint: ask.endpoint.path,
      at: ask.at,
    }
    const timing = { attempts: bill.attempts, latencyMs: performance.now() - ask.startedMs, firstByteMs }
    const step = firstByteMs > 0 ? bill.step : undefined
    const answerer = step && {
      provider: step.provider.name,
      modelUsed: step.upstreamModel,
      price: step.model.price,
    }
    return buildRow(facts, timing, { status, usage }, answerer)
  }

  const bill: Bill = {
    attempts: 0,
    step: undefined,
    noteFirstByte() {
      firstByteMs = performance.now() - ask.startedMs
    },
    markAnswered(status) {
      ask.markAnswered(rowOf(status, leastUsage(ask.ask)))
    },
    async settle(status, usage) {
      const row = rowOf(status, usage)
      tellLine(ask.request, row, bill.step)
      const settlement = await ask.settle(row)
      ask.request.line.chargedMicros = settlement.chargedMicros
      return settlement
    },
    headers: () => ({
      'x-gateway-attempts': String(bill.attempts),
      'x-gateway-credits-remaining': String(ask.hold.balanceMicros / 1e6),
      ...(bill.step
        ? { 'x-gateway-provider': bill.step.provider.name, 'x-gateway-model': bill.step.upstreamModel }
        : {}),
    }),
  }
  return bill
}

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
