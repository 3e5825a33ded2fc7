import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { UpstreamHeaders } from '../dialects/headers.ts'
import { clientLeft, GatewayError } from '../errors.ts'
import type { SharedBytes } from '../request/shared-bytes.ts'
import {
  type Failure,
  readMissing,
  readNetworkFailure,
  readRefusalFailure,
  readStatusFailure,
  readToldFailure,
  textOf,
} from '../routing/failover.ts'
import { PlanWalk, type Step } from '../routing/plan.ts'
import type { Turns } from '../turns.ts'
import { createKeyMask, ErrorMask, type KeyMask, maskHeaders } from '../upstream/key-mask.ts'
import {
  type Dialed,
  type DialRules,
  type DialTarget,
  dialWebsocket,
  type Refusal,
} from '../upstream/websocket-dial.ts'
import { type End, Relay } from '../websocket/relay.ts'
import { Session, type SharedSockets } from '../websocket/session.ts'
import { ClientInspector, inspectUpstream } from './inspect.ts'
import type { RealtimeBill } from './socket-bill.ts'

type WalkShared = ConstructorParameters<typeof PlanWalk>[1]

/** What all paid sockets of one app share: also what other requests learn about providers. */
export interface RealtimeShared extends SharedSockets, WalkShared {
  wayOut: DialRules
  /** The bytes of all bodies that are here, and of messages that are read as bodies are. */
  memory: SharedBytes
  /** They share out what is too long to be read at once. */
  turns: Turns
  upstreamHeaders: UpstreamHeaders
  /** Milliseconds since 1970. */
  wallMs(): number
}

export interface SessionOptions {
  request: FastifyRequest
  model: string
  steps: readonly Step[]
  bill: RealtimeBill
  shared: RealtimeShared
  targetOf(step: Step): DialTarget
  /** Gives its place back, when all is settled. */
  leave(): void
}

export type Opened = { end: End; protocol: string | undefined; step: Step } | { refusal: Refusal }

/** One realtime socket from the first dial to the settled bill. */
export class RealtimeSession extends Session {
  readonly #options: SessionOptions
  readonly #walk: PlanWalk
  #upstream: Socket | undefined
  /** It hides the key of the provider that said yes. */
  #mask: KeyMask | undefined
  /** Who answers. */
  #step: Step | undefined
  #isOver = false

  constructor(options: SessionOptions) {
    super()
    this.#options = options
    this.#walk = new PlanWalk(
      { steps: options.steps, endpoint: '/realtime', token: options.request.token.id },
      options.shared,
    )
  }

  /** Asks one provider after the other; rejects with the error that stands for all of them. */
  async open(): Promise<Opened> {
    for (;;) {
      const step = this.#walk.next()
      if (this.stopped) throw this.stopped
      if (!step) throw this.#walk.verdict(this.#options.model)
      this.#walk.asking(step)
      const opened = await this.#ask(step)
      if (opened) return opened
    }
  }

  /** Joins both sockets after the 101. */
  begin(client: End, upstream: End): void {
    const { bill, request, shared, model } = this.#options
    const runDry = (why?: unknown): void => this.#runDry(why)
    const models = [model, ...(this.#step ? [this.#step.upstreamModel] : [])]
    request.line.status = 101
    this.relay = new Relay({
      client,
      upstream,
      idleTimeoutMs: shared.idleTimeoutMs,
      fromClient: new ClientInspector({ bill, runDry, models, forbid: (why) => this.#forbid(why) }),
      fromUpstream: inspectUpstream(bill, runDry, this.#step?.provider.origin ?? ''),
      mask: this.#mask,
      over: () => this.over(),
    })
    this.relay.start()
  }

  /** The client went away before the 101, or the handshake came to nothing, or the relay ended. */
  over(): void {
    if (this.#isOver || this.relay?.isOpen) return
    this.#isOver = true
    const { bill, request, leave } = this.#options
    this.stopped ??= clientLeft('The client left.')
    this.dialing?.abort()
    if (!this.relay) this.#upstream?.destroy()
    Object.assign(request.line, this.relay?.counts())
    bill.close().then(leave, leave)
  }

  async #ask(step: Step): Promise<Opened | undefined> {
    const { bill, request, shared, targetOf } = this.#options
    bill.asked(step)
    Object.assign(request.line, { provider: step.provider.name, modelUsed: step.upstreamModel })
    request.line.attempts = (request.line.attempts ?? 0) + 1
    const dialing = dialWebsocket(targetOf(step), shared.wayOut)
    this.dialing = dialing
    const dialed = await dialing.result
    if (this.stopped) throw this.stopped
    const failure = this.#judge(dialed)
    if (failure) {
      this.#note(step, failure)
      return undefined
    }
    this.#walk.succeeded(step)
    const mask = createKeyMask(step.provider.key)
    if (dialed.kind === 'refused') return { refusal: maskRefusal(dialed.refusal, mask, step.provider.origin) }
    if (dialed.kind !== 'open') return undefined
    this.#mask = mask
    this.#upstream = dialed.end.socket
    this.#step = step
    return { end: dialed.end, protocol: dialed.protocol, step }
  }

  #judge(dialed: Dialed): Failure | undefined {
    if (dialed.kind === 'open') return undefined
    if (dialed.kind === 'failed') return readNetworkFailure(dialed.error)
    const { status, headers, body } = dialed.refusal
    if (status === 404 && body)
      return readToldFailure(readMissing(String(headers['content-type'] ?? ''), body))
    const failure =
      readStatusFailure(status, headers, this.#options.shared.wallMs()) ?? readRefusalFailure(status, body)
    if (failure || status >= 400) return failure
    return { kind: 'status', status, reason: String(status), retryAfterMs: undefined }
  }

  #note(step: Step, failure: Failure): void {
    const { line, log } = this.#options.request
    const { name, origin, basePath } = step.provider
    const isNews = this.#walk.note(step, failure)
    line.cause = failure.reason
    const fields = { provider: name, model: step.upstreamModel, reason: failure.reason }
    const text = textOf(failure, isNews)
    if (isNews) log.error({ ...fields, address: `${origin}${basePath}/realtime` }, text)
    else log.warn(fields, text)
  }

  #runDry(why: unknown): void {
    // A store that cannot be asked must not look like an empty account.
    const isPassing = why instanceof GatewayError && why.code !== 'insufficient_quota'
    const code = isPassing ? why.code : 'insufficient_quota'
    const message = isPassing
      ? 'The next response could not be paid for right now. Connect again in a moment.'
      : 'Your balance is used up: have your token topped up and connect again.'
    const type = isPassing ? why.type : 'insufficient_quota'
    this.#close(isPassing ? 1013 : 1008, { type, code, message, param: null })
  }

  /** The provider gets no more of a message that may have begun to pass. */
  #forbid(why: GatewayError): void {
    this.#close(1008, why)
    this.#upstream?.destroy()
  }

  #close(status: number, { type, code, message, param }: Told): void {
    this.#options.request.line.error = code
    const error = { type, code, message, param, event_id: null }
    const event = { type: 'error', event_id: `event_${randomUUID()}`, error }
    this.relay?.close(status, `${code}: ${message}`, JSON.stringify(event))
  }
}

type Told = Pick<GatewayError, 'type' | 'code' | 'message' | 'param'>

/** The refusal without the key that it was asked with. */
function maskRefusal(refusal: Refusal, mask: KeyMask | undefined, origin: string): Refusal {
  const { body, headers } = refusal
  const text = new ErrorMask(mask, headers['content-encoding'], origin)
  const clean = maskHeaders(text.headers(headers), mask)
  return { ...refusal, headers: clean, body: body && Buffer.concat([text.pass(body), text.rest()]) }
}
