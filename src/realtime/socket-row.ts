import type { FastifyRequest } from 'fastify'
import { buildRow } from '../billing/settle.ts'
import type { Usage } from '../metering/usage-kinds.ts'
import type { Step } from '../routing/plan.ts'
import type { Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'

/** One response's place: what is set aside for it, and the name of its row. */
export interface Place {
  requestId: string
  /** Undefined: it began without one (a provider that reports out of order). */
  hold: Hold | undefined
  startedMs: number
  /** So much input is set aside for. */
  inputTokens: number
}

export interface RowFacts {
  request: FastifyRequest
  token: Token
  /** As the client asked for it. */
  model: string
  now(): number
  /** Who was asked last, and how many were. */
  step: Step | undefined
  attempts: number
}

/** The usage row of one response; `usage` undefined: the place was not used. */
export const buildRealtimeRow = (facts: RowFacts, place: Place, usage: Usage | undefined): UsageRow => {
  const { request, token, model, now, step, attempts } = facts
  const { requestId, startedMs } = place
  const latencyMs = performance.now() - startedMs
  const at = Math.round(now() - latencyMs)
  return buildRow(
    { requestId, tokenId: token.id, user: token.user, model, at, endpoint: '/realtime' },
    { attempts, latencyMs, firstByteMs: 0 },
    { status: request.line.status ?? 502, usage },
    step && usage
      ? { provider: step.provider.name, modelUsed: step.upstreamModel, price: step.model.price }
      : undefined,
  )
}

/** Adds one row to the socket's log line. */
export const addToLine = ({ line }: FastifyRequest, row: UsageRow, chargedMicros: number): void => {
  line.chargedMicros = (line.chargedMicros ?? 0) + chargedMicros
  line.inputTokens = (line.inputTokens ?? 0) + row.inputTokens
  line.cachedTokens = (line.cachedTokens ?? 0) + row.cachedTokens
  line.outputTokens = (line.outputTokens ?? 0) + row.outputTokens
  if (row.estimated) line.estimated = true
}
