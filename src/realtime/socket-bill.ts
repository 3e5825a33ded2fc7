import type { FastifyRequest } from 'fastify'
import { buildRow } from '../billing/bill.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { insufficientQuota } from '../errors.ts'
import { costMicros } from '../metering/price.ts'
import { createTally, type NextInput } from '../metering/realtime.ts'
import type { Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { orTooLate, StepQueue, settleReservation } from './socket-settle.ts'

/** Beyond what was said so far: instructions and tools of a session, and the next turn. */
const NEXT_TURN_TOKENS = 1_000

export interface RealtimeBillOptions {
  request: FastifyRequest
  token: Token
  store: Accounts
  /** The model's name as the client asked for it. */
  model: string
  /** Sets one response aside; rejects when the balance does not cover it. */
  hold(requestId: string, input: NextInput): Promise<Hold>
  now(): number
}

/** One response's reservation: what is set aside for it, and the name of its row. */
interface Reservation {
  requestId: string
  /** Undefined: it began without one (a provider that reports out of order). */
  hold: Hold | undefined
  startedMs: number
  /** The input that is set aside for. */
  inputTokens: number
}

/** One socket's way through many responses: each has a hold before it begins and a row of its own when it ends. */
export class RealtimeBill {
  readonly #options: RealtimeBillOptions
  readonly #tally = createTally()
  #rows = 0
  #step: Step | undefined
  #attempts = 0
  /** The place of the next response. */
  #free: Reservation | undefined
  #running: Reservation[] = []
  /** Settlements and the hold that follows them, one after the other. */
  readonly #work: StepQueue
  #isClosed = false
  #weighedMicros = 0

  constructor(options: RealtimeBillOptions) {
    this.#options = options
    const { log } = options.request
    this.#work = new StepQueue((error) => log.error({ err: error }, 'realtime charge failed'))
  }

  /** The first hold, before anybody is dialed. Rejects with the refusal. */
  async open(): Promise<void> {
    this.#free = await this.#take()
  }

  asked(step: Step): void {
    this.#step = step
    this.#attempts += 1
  }

  sent(type: string | undefined, head: Buffer, bytes: number): void {
    this.#tally.sent(type, head, bytes)
  }

  received(type: string | undefined, bytes: number): void {
    this.#tally.received(type, bytes)
  }

  /** Calls `runDry` when what runs costs more than was set aside for it and is left besides. */
  weigh(runDry: () => void): void {
    const cost = this.#step ? costMicros(this.#tally.estimate(), this.#step.model.price) : 0
    const held = this.#running.reduce((sum, { hold }) => sum + (hold?.micros ?? 0), 0)
    if (this.#running.length === 0 || cost <= Math.max(held, this.#weighedMicros)) return
    // Looked at again when it has grown by a tenth.
    this.#weighedMicros = cost * 1.1
    const { store, token } = this.#options
    const judge = ({ balanceMicros }: { balanceMicros: number }): void => {
      if (cost > held + balanceMicros && this.#running.length > 0) runDry()
    }
    store.credits(token.id).then(judge, () => {})
  }

  /** Why a next response is not paid for; undefined at once: it is. */
  cover(): Promise<unknown> | undefined {
    if (this.#free && !this.#work.isWorking && !this.#isOutgrown(this.#free)) return undefined
    let why: unknown
    const work = this.#work.add(async () => {
      why = await this.#refill()
    })
    return orTooLate(work.then(() => why))
  }

  begin(): void {
    const reservation = this.#takeFree()
    this.#running.push(reservation)
    this.#tally.begun()
    const { hold } = reservation
    if (!hold) return
    const row = this.#rowOf(reservation, this.#tally.estimate())
    this.#options.store.markAnswered(hold.id, Math.min(row.costMicros, hold.micros), row)
  }

  /** A response is over; without a report it is estimated. Then the next one is set aside. */
  end(usage: Usage | undefined): void {
    const used = usage ?? this.#tally.estimate()
    this.#tally.reported(used)
    this.#weighedMicros = 0
    const reservation = this.#running.shift() ?? this.#takeFree()
    void this.#work.add(async () => {
      await this.#settle(reservation, used)
      if (!this.#isClosed) await this.#refill()
    })
  }

  /** What the provider reported beside a response, such as a transcription: why nothing more is paid for, if so. */
  charge(usage: Usage): Promise<unknown> {
    const reservation = this.#takeFree()
    let why: unknown
    const work = this.#work.add(async () => {
      why = await this.#settle(reservation, usage)
      const refused = this.#isClosed ? undefined : await this.#refill()
      // A response that runs has a hold of its own and may end.
      if (this.#running.length === 0) why ??= refused
    })
    return orTooLate(work.then(() => why))
  }

  /** The socket is gone: what runs is estimated, what is set aside goes back. */
  async close(): Promise<void> {
    this.#isClosed = true
    const running = this.#running.splice(0)
    const estimate = this.#tally.estimate()
    for (const [index, reservation] of running.entries())
      void this.#work.add(
        async () => void (await this.#settle(reservation, index === 0 ? estimate : NO_USAGE)),
      )
    await this.#work.add(async () => {
      if (this.#free) await this.#settle(this.#takeFree(), undefined)
    })
  }

  headers(): Record<string, string> {
    return {
      'x-gateway-attempts': String(this.#attempts),
      ...(this.#free?.hold
        ? { 'x-gateway-credits-remaining': String(this.#free.hold.balanceMicros / 1e6) }
        : {}),
    }
  }

  #takeFree(): Reservation {
    const reservation = this.#free ?? this.#openReservation()
    this.#free = undefined
    return reservation
  }

  #openReservation(): Reservation {
    this.#rows += 1
    const requestId = `${this.#options.request.id}.${this.#rows}`
    return { requestId, hold: undefined, startedMs: performance.now(), inputTokens: 0 }
  }

  /** True when more was said since it was set aside than it was meant for. */
  #isOutgrown({ inputTokens }: Reservation): boolean {
    return this.#tally.nextInput().mostTokens > inputTokens
  }

  /** Sets the next response aside; what went wrong, if it did. */
  async #refill(): Promise<unknown> {
    try {
      if (this.#free && this.#isOutgrown(this.#free)) await this.#settle(this.#takeFree(), undefined)
      if (!this.#isClosed) this.#free ??= await this.#take()
      return undefined
    } catch (error) {
      return error
    }
  }

  async #take(): Promise<Reservation> {
    const reservation = this.#openReservation()
    const { mostTokens, leastTokens } = this.#tally.nextInput()
    reservation.inputTokens = mostTokens + NEXT_TURN_TOKENS
    reservation.hold = await this.#options.hold(reservation.requestId, {
      mostTokens: reservation.inputTokens,
      leastTokens,
    })
    return reservation
  }

  /** Why it is not paid in full; undefined: it is. */
  async #settle(reservation: Reservation, usage: Usage | undefined): Promise<unknown> {
    const { store, request } = this.#options
    const row = this.#rowOf(reservation, usage)
    const { chargedMicros } = await settleReservation(store, reservation.hold, row)
    addToLine(request, row, chargedMicros)
    return chargedMicros < row.costMicros ? insufficientQuota('The balance is used up.') : undefined
  }

  #rowOf(reservation: Reservation, usage: Usage | undefined): UsageRow {
    return buildRealtimeRow(
      { ...this.#options, step: this.#step, attempts: this.#attempts },
      reservation,
      usage,
    )
  }
}

interface RowFacts {
  request: FastifyRequest
  token: Token
  /** The model's name as the client asked for it. */
  model: string
  now(): number
  /** Who was asked last, and how many were. */
  step: Step | undefined
  attempts: number
}

/** The usage row of one response; `usage` undefined: the reservation was not used. */
function buildRealtimeRow(facts: RowFacts, reservation: Reservation, usage: Usage | undefined): UsageRow {
  const { request, token, model, now, step, attempts } = facts
  const { requestId, startedMs } = reservation
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
export function addToLine({ line }: FastifyRequest, row: UsageRow, chargedMicros: number): void {
  line.chargedMicros = (line.chargedMicros ?? 0) + chargedMicros
  line.inputTokens = (line.inputTokens ?? 0) + row.inputTokens
  line.cachedTokens = (line.cachedTokens ?? 0) + row.cachedTokens
  line.outputTokens = (line.outputTokens ?? 0) + row.outputTokens
  if (row.estimated) line.estimated = true
}
