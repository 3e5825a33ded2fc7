import { gunzipSync, inflateSync } from 'node:zlib'
import { creditHeaders } from '../billing/bill.ts'
import type { Price } from '../config/catalog/catalog.ts'
import type { Deadlines } from '../deadlines.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'
import { findFailure, isBlankByte, NO_OUTPUT, type ToldFailure } from '../dialects/verdict.ts'
import { estimateUsage } from '../metering/estimate.ts'
import { createAnswerMeter, type StreamMeter } from '../metering/stream-meter.ts'
import { lacksTokens, readUsage, usualSeconds, withSeconds } from '../metering/usage.ts'
import type { Step } from '../routing/plan.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import { Pressure } from './downstream.ts'
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
  /** The whole answer, without its encoding where that can be taken off, and what it reports. */
  #whole: Buffer | undefined
  #plain: Buffer | undefined
  #reported: Usage | undefined

  constructor(owner: AnswerOwner, head: AnswerHead, { model }: Step) {
    this.#owner = owner
    this.#head = head
    this.#price = model.price
    this.#pressure = new Pressure(
      owner.call.downstream,
      owner.attempts.current,
      owner.shared.timeouts.idleTimeoutMs,
    )
    this.#costs = head.status < 300
    this.#isJson = isJson(String(head.headers['content-type'] ?? ''), owner.call.endpoint.dialect)
    // A transcript's text is needed whole: it may have to be counted.
    this.#isShort = this.#isJson || owner.call.endpoint.dialect.countsSeconds
  }

  data(chunk: Buffer): void {
    if (this.#meter) return this.#pass(this.#meter, chunk)
    if (this.#size === 0 && this.#isJson && isBlank(chunk)) return this.#passBlanks(chunk)
    this.#held.push(chunk)
    this.#size += chunk.length
    if (this.#size > MAX_HELD_BACK || !this.#isShort) this.#startPassing()
  }

  hasSpoken(): boolean {
    return this.#meter !== undefined
  }

  holdsBack(): boolean {
    return false
  }

  failure(): ToldFailure | undefined {
    this.#pressure.end()
    if (this.#meter) return undefined
    const [first] = this.#held
    this.#whole = this.#held.length === 1 && first ? first : Buffer.concat(this.#held)
    this.#plain = withoutMark(decode(this.#whole, this.#head.headers['content-encoding']))
    if (!this.#costs) return undefined
    if (this.#size === 0) return NO_OUTPUT
    if (!this.#isJson || !this.#plain) return undefined
    const { dialect } = this.#owner.call.endpoint
    this.#reported = readUsage(dialect, this.#plain)
    return findFailure(dialect, this.#plain, this.#reported !== undefined)
  }

  ended(): Promise<void> {
    return this.#finish(this.#whole)
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

  /**
   * Blank lines in front are a provider's way to keep the connection alive: the client needs them too, and they are no
   * answer.
   */
  #passBlanks(chunk: Buffer): void {
    this.#begin({})
    if (!this.#owner.call.downstream.write(chunk)) this.#pressure.hold()
  }

  #begin(own: Record<string, string>): void {
    const { downstream } = this.#owner.call
    if (downstream.hasBegun()) return
    const { status, headers } = this.#head
    downstream.begin(status, headers, { ...this.#owner.bill.headers(), ...own })
  }

  #startPassing(): void {
    const { bill, call } = this.#owner
    const { status, headers } = this.#head
    this.#owner.accept()
    this.#meter = createAnswerMeter(call.endpoint.dialect)
    if (this.#costs) bill.markAnswered(status)
    this.#begin(lengthOf(headers))
    for (const chunk of this.#held.splice(0)) this.#pass(this.#meter, chunk)
  }

  #pass(meter: StreamMeter, chunk: Buffer): void {
    meter.push(chunk)
    if (!this.#owner.call.downstream.write(chunk)) this.#pressure.hold()
  }

  async #finish(body: Buffer | undefined): Promise<void> {
    const { bill, shared, call } = this.#owner
    const { downstream } = call
    const { status } = this.#head
    const settling = bill.settle(status, this.#costs ? await this.#usage() : undefined)
    const settlement = await patiently(settling, shared.deadlines)
    if (body) this.#begin({ ...creditHeaders(settlement), 'content-length': String(body.length) })
    downstream.end(body)
    // The log line and the drain wait for the bill, whatever the client had patience for.
    if (!settlement) await settling
  }

  #usage(): Usage | Promise<Usage> {
    const { call } = this.#owner
    const passed = this.#isJson ? this.#meter?.usage() : undefined
    const reported = passed ?? this.#reported
    return completeUsage(call, this.#price, { reported, answer: this.#plain, meter: this.#meter })
  }

  async #abandon(status: number): Promise<void> {
    const { bill, call } = this.#owner
    this.#pressure.end()
    const seen = { reported: undefined, answer: undefined, meter: this.#meter }
    const usage = this.#costs ? await completeUsage(call, this.#price, seen) : undefined
    await bill.settle(status, usage)
  }
}

/** Where an answer must be JSON, a media type that says nothing of it is one of those that mean JSON. */
function isJson(type: string, { countsCharacters, countsSeconds }: Dialect): boolean {
  return type.includes('json') || (!countsCharacters && !countsSeconds && /^(?:$|text\/)/.test(type))
}

function lengthOf(headers: AnswerHead['headers']): Record<string, string> {
  return headers['content-length'] === undefined ? {} : { 'content-length': headers['content-length'] }
}

function isBlank(chunk: Buffer): boolean {
  return chunk.length > 0 && chunk.every(isBlankByte)
}

interface Seen {
  reported: Usage | undefined
  answer: Buffer | undefined
  /** What passed of an answer that was not held back. */
  meter: StreamMeter | undefined
}

/** The provider's report, with what only we know added; where it says less than is charged, our own estimate. */
function completeUsage(
  { ask, endpoint, token }: PaidCall,
  price: Price,
  { reported, answer, meter }: Seen,
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
    // A transcript is counted by its length.
    meter: dialect.countsSeconds ? undefined : meter,
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

/** Clients pass over the mark of UTF-8 (RFC 8259 section 8.1); no parser of ours does. */
function withoutMark(plain: Buffer | undefined): Buffer | undefined {
  return plain?.[0] === 0xef && plain[1] === 0xbb && plain[2] === 0xbf ? plain.subarray(3) : plain
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
