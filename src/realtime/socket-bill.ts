import type { FastifyRequest } from 'fastify'
import { insufficientQuota } from '../errors.ts'
import { costMicros } from '../metering/price.ts'
import { createTally, type NextInput } from '../metering/realtime.ts'
import { NO_USAGE, type Usage } from '../metering/usage-kinds.ts'
import type { Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { addToLine, buildRealtimeRow, type Place } from './socket-row.ts'
import { settlePlace } from './socket-settle.ts'
import { StepQueue } from './step-queue.ts'
import { orTooLate } from './store-patience.ts'

/** Beyond what was said so far: instructions and tools of a session, and the next turn. */
const NEXT_TURN_TOKENS = 1_000

export interface RealtimeBillOptions {
  request: FastifyRequest
  token: Token
  store: Accounts
  /** As the client asked for it. */
  model: string
  /** Sets one response aside; rejects when the balance does not cover it. */
  hold(requestId: string, input: NextInput): Promise<Hold>
  now(): number
}

/** One socket's way through many responses: each has a hold before it begins and a row of its own when it ends. */
export class RealtimeBill {
  readonly #options: RealtimeBillOptions
  readonly #tally = createTally()
  #rows = 0
  #step: Step | undefined
  #attempts = 0
  /** For the next response. */
  #free: Place | undefined
  #running: Place[] = []
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
    const place = this.#takeFree()
    this.#running.push(place)
    this.#tally.begun()
    const { hold } = place
    if (!hold) return
    const row = this.#rowOf(place, this.#tally.estimate())
    this.#options.store.markAnswered(hold.id, Math.min(row.costMicros, hold.micros), row)
  }

  /** A response is over; without a report it is estimated. Then the next one is set aside. */
  end(usage: Usage | undefined): void {
    const used = usage ?? this.#tally.estimate()
    this.#tally.reported(used)
    this.#weighedMicros = 0
    const place = this.#running.shift() ?? this.#takeFree()
    void this.#work.add(async () => {
      await this.#settle(place, used)
      if (!this.#isClosed) await this.#refill()
    })
  }

  /** What the provider reported beside a response, such as a transcription: why nothing more is paid for, if so. */
  charge(usage: Usage): Promise<unknown> {
    const place = this.#takeFree()
    let why: unknown
    const work = this.#work.add(async () => {
      why = await this.#settle(place, usage)
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
    for (const [index, place] of running.entries())
      void this.#work.add(async () => void (await this.#settle(place, index === 0 ? estimate : NO_USAGE)))
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

  #takeFree(): Place {
    const place = this.#free ?? this.#openPlace()
    this.#free = undefined
    return place
  }

  #openPlace(): Place {
    this.#rows += 1
    const requestId = `${this.#options.request.id}.${this.#rows}`
    return { requestId, hold: undefined, startedMs: performance.now(), inputTokens: 0 }
  }

  /** More was said since it was set aside than it was meant for. */
  #isOutgrown({ inputTokens }: Place): boolean {
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

  async #take(): Promise<Place> {
    const place = this.#openPlace()
    const { mostTokens, leastTokens } = this.#tally.nextInput()
    place.inputTokens = mostTokens + NEXT_TURN_TOKENS
    place.hold = await this.#options.hold(place.requestId, { mostTokens: place.inputTokens, leastTokens })
    return place
  }

  /** Why it is not paid in full; undefined: it is. */
  async #settle(place: Place, usage: Usage | undefined): Promise<unknown> {
    const { store, request } = this.#options
    const row = this.#rowOf(place, usage)
    const { chargedMicros } = await settlePlace(store, place.hold, row)
    addToLine(request, row, chargedMicros)
    return chargedMicros < row.costMicros ? insufficientQuota('The balance is used up.') : undefined
  }

  #rowOf(place: Place, usage: Usage | undefined): UsageRow {
    return buildRealtimeRow({ ...this.#options, step: this.#step, attempts: this.#attempts }, place, usage)
  }
}
