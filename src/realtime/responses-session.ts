import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { HeldFacts } from '../billing/hold.ts'
import type { Catalog, Provider } from '../config/catalog/catalog.ts'
import { within } from '../deadlines.ts'
import { ENDPOINTS } from '../dialects/endpoints.ts'
import { readType } from '../dialects/openai-realtime.ts'
import { meaningOf, openaiResponses } from '../dialects/openai-responses.ts'
import {
  clientLeft,
  GatewayError,
  gatewayBusy,
  internalError,
  invalidRequest,
  modelNotFound,
  upstreamFailed,
} from '../errors.ts'
import { type LongReading, readJsonAsk, wholeOf } from '../request/json-ask.ts'
import { planSteps, type Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import { createKeyMask } from '../upstream/key-mask.ts'
import { type Dialed, type DialTarget, dialWebsocket } from '../upstream/websocket-dial.ts'
import { OPCODES, writeFrame } from '../websocket/frames.ts'
import type { MessageInspector } from '../websocket/message-copy.ts'
import { type End, Relay } from '../websocket/relay.ts'
import { Session } from '../websocket/session.ts'
import { FailureWords, UPSTREAM_HEAD_BYTES } from './inspect.ts'
import { type CreateEvent, CreateInspector } from './responses-create.ts'
import { ResponsesTurn } from './responses-turn.ts'
import type { RealtimeShared } from './session.ts'
import { orTooLate } from './socket-settle.ts'

/** A provider that has no such socket says so at once. */
const DIAL_PATIENCE_MS = 10_000
/** A response that is asked for begins within so long, or came to nothing, where an error leaves that open. */
const DOUBT_MS = 5_000
const NOTHING: Buffer = Buffer.alloc(0)
const [ENDPOINT] = ENDPOINTS.filter(({ dialect }) => dialect === openaiResponses)

export interface ResponsesOptions {
  request: FastifyRequest
  catalog(): Catalog
  store: Accounts
  /** Sets the first step of one response aside, or turns it away. */
  hold(requestId: string, step: Step, facts: HeldFacts): Promise<Hold>
  shared: RealtimeShared
  targetOf(provider: Provider): DialTarget
  /** A provider that did not take the handshake. */
  refused(provider: Provider, dialed: Dialed): void
  /** Gives its place back, when all is settled. */
  leave(): void
}

/** A socket that carries responses: each `response.create` is a request of its own, one after the other. */
export class ResponsesSession extends Session {
  readonly #options: ResponsesOptions
  readonly #client: CreateInspector
  #provider: Provider | undefined
  #upstream: Socket | undefined
  /** The response that is asked for, or runs. */
  #turn: ResponsesTurn | undefined
  /** The one before was given up while its provider may still work on it. */
  #mayGoOn = false
  /** The bill of the one before. */
  #settled: Promise<void> = Promise.resolve()
  #rows = 0
  #hasAsked = false
  /** Cancels that the provider may still answer with an error, which is none of the next response's. */
  #cancels = 0
  /** The longest conversation that a response on this socket has read and written. */
  #contextTokens = 0
  #isOver = false

  constructor(options: ResponsesOptions) {
    super()
    this.#options = options
    const { shared, request } = options
    this.#client = new CreateInspector({
      openLease: () => shared.memory.open(request.token.id),
      judge: (event) => this.#judge(event),
      overflow: () =>
        this.#close(1013, gatewayBusy('There is no memory for this message: connect again in a moment')),
    })
  }

  /** Dials one provider after the other; undefined: none takes WebSockets here. */
  async open(candidates: readonly Provider[]): Promise<{ end: End; provider: Provider } | undefined> {
    const { request, shared, targetOf, refused } = this.#options
    const firstByteTimeoutMs = Math.min(shared.wayOut.firstByteTimeoutMs, DIAL_PATIENCE_MS)
    const wayOut = { ...shared.wayOut, firstByteTimeoutMs }
    for (const provider of candidates) {
      if (this.stopped) throw this.stopped
      Object.assign(request.line, { provider: provider.name, attempts: (request.line.attempts ?? 0) + 1 })
      const dialing = dialWebsocket(targetOf(provider), wayOut)
      this.dialing = dialing
      const dialed = await dialing.result
      if (this.stopped) throw this.stopped
      if (dialed.kind === 'open') {
        this.#provider = provider
        this.#upstream = dialed.end.socket
        return { end: dialed.end, provider }
      }
      refused(provider, dialed)
    }
    return undefined
  }

  /** Joins both sockets after the 101. */
  begin(client: End, upstream: End): void {
    const { request, shared } = this.#options
    request.line.status = 101
    this.relay = new Relay({
      client,
      upstream,
      idleTimeoutMs: shared.idleTimeoutMs,
      fromClient: this.#client,
      fromUpstream: this.#inspectUpstream(),
      mask: createKeyMask(this.#provider?.key),
      over: () => this.over(),
    })
    this.relay.start()
  }

  /** The client went away before the 101, or the handshake came to nothing, or the relay ended. */
  over(): void {
    if (this.#isOver || this.relay?.isOpen) return
    this.#isOver = true
    const { request, leave } = this.#options
    this.stopped ??= clientLeft('The client left.')
    this.dialing?.abort()
    if (!this.relay) this.#upstream?.destroy()
    Object.assign(request.line, this.relay?.counts())
    this.#client.close()
    this.#endTurn(this.relay?.leftFirst === 'client')
    this.#settled.then(leave, leave)
  }

  /** What passes in a message's place: the request as the provider has it, or nothing but an error event for the client. */
  async #judge(event: CreateEvent): Promise<Buffer | undefined> {
    try {
      if (event.mistake) throw event.mistake
      if (event.type !== 'response.create' && event.type !== 'response.cancel')
        throw invalidRequest('"type" must be "response.create" or "response.cancel"', { param: 'type' })
      if (event.type === 'response.create') return await this.#create(event)
      await this.#cancel()
      event.lease.release()
      return undefined
    } catch (error) {
      event.lease.release()
      if (!(error instanceof GatewayError))
        this.#options.request.log.error({ err: error }, 'response on a socket failed')
      const told = error instanceof GatewayError ? error : internalError('The gateway failed; send it again')
      this.#options.request.line.error = told.code
      this.relay?.tell(errorEvent(told))
      return NOTHING
    }
  }

  /** It passes when there is something to cancel: an error in answer to it could be taken for the next response's. */
  async #cancel(): Promise<void> {
    await this.#turn?.decided
    if (!this.#turn) throw invalidRequest('No response runs here that could be cancelled', { param: 'type' })
    this.#cancels += 1
  }

  async #create({ bytes, goesOn, lease }: CreateEvent): Promise<Buffer | undefined> {
    const { request, store, hold, shared } = this.#options
    // The next one waits, and its sender with it: so each is held for, and charged, by itself.
    if (this.#turn?.isDoubtful) await within(DOUBT_MS, this.#turn.decided)
    if (this.#turn?.isDoubtful) {
      this.#endTurn()
      this.#mayGoOn = true
    }
    await this.#turn?.ended
    await orTooLate(this.#settled)
    // The first one was counted with its socket.
    if (this.#hasAsked) await request.server.countRequest(request)
    this.#hasAsked = true
    const ask = ENDPOINT && (await readJsonAsk(ENDPOINT, wholeOf([bytes]), this.#longReading()))
    if (!ask || this.stopped) throw this.stopped ?? internalError('No responses here')
    const step = this.#stepFor(ask)
    this.#rows += 1
    const requestId = `${request.id}.${this.#rows}`
    const contextTokens = goesOn ? this.#contextTokens : 0
    const inputTokens = ask.inputTokens + contextTokens
    // What it goes on from is not in its text.
    const text = contextTokens > 0 ? undefined : ask.text
    const held = await hold(requestId, step, { ...ask, inputTokens, isStream: true, text })
    const turn = new ResponsesTurn({
      ...{ request, store, ask, step, hold: held, requestId, contextTokens, at: shared.wallMs() },
      runDry: (why) => this.#close(why.passing ? 1013 : 1008, why),
    })
    this.#turn = turn
    void turn.ended.then(() => lease.release())
    if (this.stopped) {
      this.#endTurn()
      throw this.stopped
    }
    Object.assign(request.line, { model: ask.model, modelUsed: step.upstreamModel })
    const { body } = ask.bodyFor(step.upstreamModel, false) ?? {}
    const pieces = Buffer.isBuffer(body) ? [body] : Array.isArray(body) ? body : []
    return writeFrame(OPCODES.text, Buffer.concat(pieces), true)
  }

  /** The step of the model's plan that this socket leads to: its provider was chosen before anybody named a model. */
  #stepFor({ model, besides }: { model: string; besides: readonly string[] }): Step {
    const { catalog, request } = this.#options
    const allowed = request.token.models
    const steps = planSteps({ catalog: catalog(), model, besides, allowed, dialect: openaiResponses })
    const own = steps.filter((step) => step.model.name === steps[0]?.model.name)
    const step = own.find(({ provider }) => provider.name === this.#provider?.name)
    if (step) return step
    throw modelNotFound(
      'This socket leads to a provider that does not have this model; name it in the URL (?model=...), or POST to /v1/responses',
      { param: 'model' },
    )
  }

  #longReading(): LongReading {
    const { request, shared } = this.#options
    return {
      inTurns: (step) =>
        shared.turns.run(request.token.id, () => {
          if (this.stopped) throw this.stopped
          return step()
        }),
      refuse: (model) => void this.#stepFor({ model, besides: [] }),
    }
  }

  #inspectUpstream(): MessageInspector {
    const words = new FailureWords(this.#provider?.origin ?? '')
    return {
      headBytes: UPSTREAM_HEAD_BYTES,
      tailBytes: 0,
      begin: () => this.#turn?.eventBegins(),
      read: (piece) => this.#turn?.read(piece),
      gate: (head) => words.gate(readType(head), head),
      instead: () => words.take(),
      passed: (head) => this.#passed(readType(head)),
    }
  }

  /** What is a response's belongs to one that is held for, or it is the last that passes. */
  #passed(type: string | undefined): void {
    const meaning = meaningOf(type)
    const isOfOne = meaning === 'begun' || meaning === 'going' || meaning === 'over'
    if (isOfOne && type !== 'response.failed' && !this.#isAskedFor(meaning))
      return this.#close(1013, upstreamFailed('The provider went on with a response that nobody asked for'))
    // Some say no more of a beginning than its first words.
    if (isOfOne || type?.startsWith('response.')) this.#begun()
    this.#turn?.eventEnds()
    if (meaning === 'over') this.#endTurn()
    if (meaning === 'refused') this.#refused()
  }

  #isAskedFor(meaning: 'begun' | 'going' | 'over'): boolean {
    if (meaning === 'begun') this.#mayGoOn = false
    return this.#turn !== undefined && (this.#turn.hasBegun || !this.#mayGoOn)
  }

  /** By whichever event: not every provider says that it begins before it does. */
  #begun(): void {
    if (!this.#turn || this.#turn.hasBegun) return
    this.#turn.begun()
    this.#cancels = 0
  }

  /** A response that has begun may still go on, and the error be a cancel's: what it is about cannot be known. */
  #refused(): void {
    const isOpen = this.#turn?.hasBegun || this.#cancels > 0
    this.#cancels = Math.max(0, this.#cancels - 1)
    if (this.#turn && isOpen) this.#turn.isDoubtful = true
    else this.#endTurn()
  }

  #endTurn(hasLeft = false): void {
    const turn = this.#turn
    if (!turn) return
    this.#turn = undefined
    const { log } = this.#options.request
    this.#settled = turn.settle(hasLeft).then(
      (used) => {
        if (used) this.#contextTokens = Math.max(this.#contextTokens, used.inputTokens + used.outputTokens)
      },
      (error) => log.error({ err: error }, 'charge of a response on a socket failed'),
    )
  }

  /** The provider gets no more. */
  #close(status: number, why: GatewayError): void {
    this.#options.request.line.error = why.code
    this.#endTurn()
    this.relay?.close(status, `${why.code}: ${why.message}`, errorEvent(why))
  }
}

function errorEvent({ statusCode: status, type, code, message, param }: GatewayError): string {
  return JSON.stringify({ type: 'error', status, error: { type, code, message, param }, sequence_number: 0 })
}
