import { gunzipSync, inflateSync } from 'node:zlib'
import { creditHeaders } from '../billing/bill.ts'
import type { Price } from '../config/catalog/catalog.ts'
import type { Deadlines } from '../deadlines.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { estimateUsage } from '../metering/estimate.ts'
import { createAnswerMeter, type StreamMeter } from '../metering/stream-meter.ts'
import { lacksTokens, readUsage, usualSeconds, withSeconds } from '../metering/usage.ts'
import type { Step } from '../routing/plan.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import type { Pressure } from './downstream.ts'
import type { PaidCall } from './paid-call.ts'

/** An answer up to this size is held back until it is paid, so that its price stands in its headers. */
const MAX_HELD_BACK = 256 * 1024
const MAX_DECODED = 16 * 1024 * 1024
/** How long an answer waits for a store that does not take its bill; the bill itself is kept and retried. */
const SETTLE_PATIENCE_MS = 500

/** A JSON answer, or audio: held back while it is small, passed through as it comes when it is not. */
export class PlainAnswer implements Answer {
  readonly #owner: AnswerOwner
  readonly #head: AnswerHead
  readonly #price: Price
  readonly #pressure: Pressure
  readonly #costs: boolean
  readonly #isJson: boolean
  readonly #isShort: boolean
  #held: Buffer[] = []
  #size = 0
  /** It is there once bytes pass through. */
  #meter: StreamMeter | undefined

  constructor(owner: AnswerOwner, head: AnswerHead, { model }: Step) {
    this.#owner = owner
    this.#head = head
    this.#price = model.price
    this.#pressure = owner.openPressure()
    this.#costs = head.status < 300
    this.#isJson = String(head.headers['content-type'] ?? '').includes('json')
    // A transcript's text is needed whole: it may have to be counted.
    this.#isShort = this.#isJson || owner.call.endpoint.dialect.countsSeconds
  }

  data(chunk: Buffer): void {
    if (this.#meter) return this.#pass(this.#meter, chunk)
    this.#held.push(chunk)
    this.#size += chunk.length
    // Blank lines in front are a provider's way to keep the connection alive: the client needs them too.
    if (this.#size > MAX_HELD_BACK || !this.#isShort || (this.#held.length === 1 && isBlank(chunk)))
      this.#startPassing()
  }

  ended(): Promise<void> {
    this.#pressure.end()
    const [first] = this.#held
    const whole = this.#held.length === 1 && first ? first : Buffer.concat(this.#held)
    return this.#finish(this.#meter ? undefined : whole)
  }

  died(error: Error, status: number): Promise<void> {
    this.#owner.call.downstream.fail(error, {})
    return this.#abandon(status)
  }

  left(): Promise<void> {
    return this.#abandon(499)
  }

  drop(): void {
    this.#pressure.end()
  }

  #startPassing(): void {
    const { bill, call } = this.#owner
    const { status, headers } = this.#head
    this.#meter = createAnswerMeter(call.endpoint.dialect)
    if (this.#costs) bill.markAnswered(status)
    call.downstream.begin(status, headers, { ...bill.headers(), ...lengthOf(headers) })
    for (const chunk of this.#held.splice(0)) this.#pass(this.#meter, chunk)
  }

  #pass(meter: StreamMeter, chunk: Buffer): void {
    meter.push(chunk)
    if (!this.#owner.call.downstream.write(chunk)) this.#pressure.hold()
  }

  async #finish(body: Buffer | undefined): Promise<void> {
    const { bill, shared, call } = this.#owner
    const { downstream } = call
    const { status, headers } = this.#head
    const settling = bill.settle(status, this.#costs ? await this.#usageOf(body) : undefined)
    const settlement = await patiently(settling, shared.deadlines)
    if (body) {
      const own = { ...bill.headers(), ...creditHeaders(settlement), 'content-length': String(body.length) }
      downstream.begin(status, headers, own)
    }
    downstream.end(body)
    // The log line and the drain wait for the bill, whatever the client had patience for.
    if (!settlement) await settling
  }

  #usageOf(body: Buffer | undefined): Usage | Promise<Usage> {
    const { call } = this.#owner
    const plain = body && decode(body, this.#head.headers['content-encoding'])
    const { dialect } = call.endpoint
    const said = plain ? readUsage(dialect, plain) : this.#meter?.usage()
    const reported = this.#isJson ? said : undefined
    return completeUsage(call, this.#price, { reported, answer: plain })
  }

  async #abandon(status: number): Promise<void> {
    const { bill, call } = this.#owner
    this.#pressure.end()
    const usage = this.#costs ? await completeUsage(call, this.#price, NOTHING_SEEN) : undefined
    await bill.settle(status, usage)
  }
}

function lengthOf(headers: AnswerHead['headers']): Record<string, string> {
  return headers['content-length'] === undefined ? {} : { 'content-length': headers['content-length'] }
}

function isBlank(chunk: Buffer): boolean {
  return chunk.length > 0 && chunk.every((byte) => byte === 0x20 || byte === 0x0a || byte === 0x0d)
}

interface Seen {
  reported: Usage | undefined
  answer: Buffer | undefined
}

const NOTHING_SEEN: Seen = { reported: undefined, answer: undefined }

/** The provider's report, with what only we know added; where it says less than is charged, our own estimate. */
function completeUsage(
  { ask, endpoint, token }: PaidCall,
  price: Price,
  { reported, answer }: Seen,
): Usage | Promise<Usage> {
  const { dialect } = endpoint
  if (dialect.isFree) return NO_USAGE
  const isCountedHere =
    (dialect.countsImages && price.perImageMicros > 0) ||
    (dialect.countsCharacters && price.perCharacterMicros > 0)
  const known = reported ?? (isCountedHere ? NO_USAGE : undefined)
  const { characters } = ask
  const images = known?.images || ask.images
  if (known && !lacksTokens(dialect, known, price))
    return dialect.countsImages || dialect.countsCharacters
      ? { ...known, characters, images }
      : withSeconds(known, ask.seconds, price)
  const seconds = known?.seconds || usualSeconds(ask.seconds)
  return estimateUsage({
    dialect,
    key: token.id,
    requestBody: ask.text?.(),
    answer,
    characters,
    seconds,
    images,
  })
}

function decode(body: Buffer, encoding: string | undefined): Buffer | undefined {
  const limit = { maxOutputLength: MAX_DECODED }
  try {
    if (!encoding || encoding === 'identity') return body
    if (encoding === 'gzip') return gunzipSync(body, limit)
    if (encoding === 'deflate') return inflateSync(body, limit)
    // Brotli is asked of nobody and left alone: its decoder had a memory bug in this runtime's line.
  } catch {
    // Counted by estimate: the bytes themselves go to the client as they came.
  }
  return undefined
}

function patiently(settling: Promise<Settlement>, deadlines: Deadlines): Promise<Settlement | undefined> {
  return new Promise((resolve, reject) => {
    const deadline = deadlines.open(() => resolve(undefined))
    deadline.start(SETTLE_PATIENCE_MS)
    settling.then(
      (settlement) => {
        deadline.stop()
        resolve(settlement)
      },
      (error) => {
        deadline.stop()
        reject(error)
      },
    )
  })
}
