import type { FastifyRequest } from 'fastify'
import { buildRow } from '../billing/bill.ts'
import { StepHold } from '../billing/step-hold.ts'
import { openaiResponses } from '../dialects/openai-responses.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { type GatewayError, gatewayBusy } from '../errors.ts'
import { estimateInput, estimateUsage } from '../metering/estimate.ts'
import { createStreamMeter, type StreamMeter } from '../metering/stream-meter.ts'
import type { Ask } from '../request/ask.ts'
import type { Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { addToLine } from './socket-bill.ts'
import { settleReservation } from './socket-settle.ts'

const EVENT_START = Buffer.from('data: ')
const EVENT_END = Buffer.from('\n\n')

export interface TurnOptions {
  request: FastifyRequest
  store: Accounts
  ask: Ask
  step: Step
  hold: Hold
  requestId: string
  /** What the response reads besides its own body: the conversation that it goes on from. */
  contextTokens: number
  /** Milliseconds since 1970. */
  at: number
  /** It costs more than can be held. */
  runDry(why: GatewayError): void
}

/** One response of a socket: held before it is asked for, held on as it grows, charged in a row of its own. */
export class ResponsesTurn {
  /** Resolves when the response is over, and its bill begins. */
  readonly ended: Promise<void>
  /** Resolves when it has begun, or is over without. */
  readonly decided: Promise<void>
  /** An error was told while it ran, or that may be another's: it may go on, or not. */
  isDoubtful = false
  readonly #options: TurnOptions
  readonly #meter: StreamMeter = createStreamMeter(openaiResponses)
  readonly #startedMs = performance.now()
  #end: () => void = () => {}
  #decide: () => void = () => {}
  #state: 'asked' | 'begun' | 'over' = 'asked'
  #firstByteMs = 0
  readonly #held: StepHold
  #isWeighing = false
  #input: Usage | undefined

  constructor(options: TurnOptions) {
    this.#options = options
    const { store, hold, ask, step, request, contextTokens } = options
    const { price } = step.model
    const held = { store, hold, price, meter: this.#meter, key: request.token.id }
    this.#held = new StepHold(held, ask, contextTokens)
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
    this.decided = new Promise((resolve) => {
      this.#decide = resolve
    })
  }

  get hasBegun(): boolean {
    return this.#state === 'begun'
  }

  begun(): void {
    if (this.#state !== 'asked') return
    this.#state = 'begun'
    this.isDoubtful = false
    this.#decide()
    this.#firstByteMs = performance.now() - this.#startedMs
    const { store, hold, ask } = this.#options
    const row = this.#row({ ...NO_USAGE, inputTokens: Math.ceil(ask.inputTokens / 4), estimated: true })
    store.markAnswered(hold.id, Math.min(row.costMicros, hold.micros), row)
  }

  /** The pieces of an event are metered as those of a stream, whose events they are. */
  eventBegins(): void {
    this.#meter.push(EVENT_START)
  }
  read(piece: Buffer): void {
    this.#meter.push(piece.includes(0x0a) || piece.includes(0x0d) ? oneLine(piece) : piece)
  }
  eventEnds(): void {
    this.#meter.push(EVENT_END)
    if (this.#state !== 'over' && !this.#isWeighing && this.#meter.bytes() >= this.#held.nextAt) this.#weigh()
  }

  /** Ends it once, with what it reports or with our count; what it used, as far as anybody knows. */
  async settle(hasLeft: boolean): Promise<Usage | undefined> {
    if (this.#state === 'over') return undefined
    const usage = this.#usage(hasLeft)
    this.#state = 'over'
    this.#decide()
    this.#end()
    const { store, hold, request } = this.#options
    const used = await usage
    const row = this.#row(used)
    const { chargedMicros } = await settleReservation(store, hold, row)
    addToLine(request, row, chargedMicros)
    return used
  }

  /** Undefined: nobody has got anything. Whoever saw a model begin, and leaves, has used its input. */
  async #usage(hasLeft: boolean): Promise<Usage | undefined> {
    if (this.#state === 'asked') return undefined
    const reported = this.#meter.usage()
    if (reported) return reported
    if (!hasLeft && this.#meter.outputText().text === '') return undefined
    const { ask, request, contextTokens } = this.#options
    const facts = {
      dialect: openaiResponses,
      key: request.token.id,
      requestBody: ask.text?.(),
      meter: this.#meter,
    }
    const own = await estimateUsage(facts)
    return { ...own, inputTokens: own.inputTokens + contextTokens }
  }

  #weigh(): void {
    this.#isWeighing = true
    this.#raise().then(
      (why) => {
        this.#isWeighing = false
        if (why && this.#state !== 'over') this.#options.runDry(why)
      },
      () => this.#options.runDry(gatewayBusy('The gateway could not count this response: it was cut here')),
    )
  }

  /** Why it has to end here; undefined: it is held for. */
  async #raise(): Promise<GatewayError | undefined> {
    const { ask, request, contextTokens } = this.#options
    const key = request.token.id
    this.#input ??= await estimateInput({ dialect: openaiResponses, key, requestBody: ask.text?.() })
    const inputTokens = this.#input.inputTokens + contextTokens
    return this.#held.weigh({ ...this.#input, inputTokens }, () => this.#state !== 'over')
  }

  #row(usage: Usage | undefined): UsageRow {
    const { request, requestId, ask, step, at } = this.#options
    const { token, line } = request
    return buildRow(
      { requestId, tokenId: token.id, user: token.user, model: ask.model, at, endpoint: '/responses' },
      { attempts: 1, latencyMs: performance.now() - this.#startedMs, firstByteMs: this.#firstByteMs },
      { status: line.status ?? 101, usage },
      { provider: step.provider.name, modelUsed: step.upstreamModel, price: step.model.price },
    )
  }
}

/** Line ends are blanks to JSON, and the end of an event to a stream. */
function oneLine(piece: Buffer): Buffer {
  return Buffer.from(piece.toString('latin1').replace(/[\r\n]/g, ' '), 'latin1')
}
