import type { FastifyRequest } from 'fastify'
import type { Price } from '../config/catalog/catalog.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { costMicros } from '../metering/price.ts'
import type { Ask } from '../request/ask.ts'
import type { Step } from '../routing/plan.ts'
import type { Accounts, Hold, Settlement } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import { tellLine, type UsageRow } from '../stores/contracts/usage-columns.ts'

/** One request's way to its usage row. */
export interface BilledRequest {
  request: FastifyRequest
  token: Token
  endpoint: Endpoint
  ask: Ask
  hold: Hold
  tokens: Pick<Accounts, 'markAnswered' | 'raise'>
  /** Ends the hold. */
  settle(row: UsageRow): Promise<Settlement>
  /** Milliseconds since 1970, and on the monotonic clock, when the request came. */
  at: number
  startedMs: number
}

/** Counts attempts and times, writes the row and tells the log line. */
export class Bill {
  readonly #paid: BilledRequest
  #attempts = 0
  #step: Step | undefined
  /** 0 until an answer has begun. */
  #firstByteMs = 0
  #settled: Promise<Settlement> | undefined

  constructor(paid: BilledRequest) {
    this.#paid = paid
  }

  /** Who is being asked. */
  step(): Step | undefined {
    return this.#step
  }

  /** Whatever came of the attempts before: nothing of it is in the row. */
  beginAttempt(step: Step): void {
    this.#step = step
    this.#attempts += 1
    this.#firstByteMs = 0
  }

  /** The answer that began was none. */
  forgetAttempt(): void {
    this.#firstByteMs = 0
  }

  noteFirstByte(): void {
    this.#firstByteMs = performance.now() - this.#paid.startedMs
  }

  /** From here on a crash charges what is known to be used. */
  markAnswered(status: number): void {
    const { ask, hold, tokens } = this.#paid
    const row = this.#row({ status, usage: leastUsage(ask) })
    tokens.markAnswered(hold.id, Math.min(row.costMicros, hold.micros), row)
  }

  /** Ends the hold exactly once, whoever asks first: later calls get the first one's result. */
  settle(status: number, usage: Usage | undefined): Promise<Settlement> {
    this.#settled ??= this.#settle({ status, usage })
    return this.#settled
  }

  /** The gateway's own response headers, as far as they are known before the body. */
  headers(): Record<string, string> {
    const headers: Record<string, string> = {
      'x-gateway-attempts': String(this.#attempts),
      'x-gateway-credits-remaining': String(this.#paid.hold.balanceMicros / 1e6),
    }
    if (!this.#step) return headers
    headers['x-gateway-provider'] = this.#step.provider.name
    headers['x-gateway-model'] = headerText(this.#step.upstreamModel)
    return headers
  }

  async #settle(outcome: Outcome): Promise<Settlement> {
    const { request, settle } = this.#paid
    const row = this.#row(outcome)
    tellAnswerer(request, row, this.#step)
    tellLine(request.line, row)
    const settlement = await settle(row)
    request.line.chargedMicros = settlement.chargedMicros
    return settlement
  }

  #row(outcome: Outcome): UsageRow {
    const { request, token, ask, endpoint, at, startedMs } = this.#paid
    const facts = {
      requestId: request.id,
      tokenId: token.id,
      user: token.user,
      model: ask.model,
      endpoint: endpoint.path,
      at,
    }
    const timing = {
      attempts: this.#attempts,
      latencyMs: performance.now() - startedMs,
      firstByteMs: this.#firstByteMs,
    }
    if (!this.#step || this.#firstByteMs === 0) return buildRow(facts, timing, outcome)
    const { provider, upstreamModel, model } = this.#step
    return buildRow(facts, timing, outcome, {
      provider: provider.name,
      modelUsed: upstreamModel,
      price: model.price,
    })
  }
}

/** What is known of the credits once the bill is settled; undefined: it is still on its way. */
export function creditHeaders(settlement: Settlement | undefined): Record<string, string> {
  return settlement
    ? {
        'x-gateway-credits-charged': String(settlement.chargedMicros / 1e6),
        'x-gateway-credits-remaining': String(settlement.balanceMicros / 1e6),
      }
    : {}
}

/** A wildcard lets clients name models in any script; a header takes ASCII, anything else would break the answer. */
function headerText(name: string): string {
  return /^[\x20-\x7e]*$/.test(name) ? name : encodeURI(name.toWellFormed())
}

/** What is known to be used once an answer has begun. */
function leastUsage({ inputTokens, images, characters }: Ask): Usage {
  return {
    ...NO_USAGE,
    inputTokens: Math.ceil(inputTokens / 4),
    images,
    characters,
    estimated: true,
  }
}

function tellAnswerer({ line }: FastifyRequest, row: UsageRow, step: Step | undefined): void {
  line.provider = step?.provider.name
  line.modelUsed = step?.upstreamModel
  line.firstByteMs = Math.round(row.firstByteMs * 10) / 10
}

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

/** The moment when a request's charge is known: what the request line waits for. */
export class Billed {
  #isOver = false
  #then: (() => void) | undefined

  /** Calls `then` once, at once when the moment is past. */
  whenBilled(then: () => void): void {
    if (this.#isOver) then()
    else this.#then = then
  }

  /** Twice is once: a client may leave while its answer's bill is on the way, and both ends come here. */
  over(): void {
    this.#isOver = true
    const then = this.#then
    this.#then = undefined
    then?.()
  }
}
