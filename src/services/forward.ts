import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Catalog } from '../config/catalog/catalog.ts'
import type { FoundRoute, ServiceRoute, ServiceTarget } from '../config/catalog/service-routes.ts'
import { pathOf } from '../config/catalog/service-table.ts'
import type { Deadline, Deadlines } from '../deadlines.ts'
import type { UpstreamHeaders } from '../dialects/headers.ts'
import {
  asError,
  clientLeft,
  GatewayError,
  gatewayRestarting,
  invalidApiKey,
  invalidRequest,
  invalidToken,
  notFound,
  upstreamFailed,
  upstreamTimeout,
} from '../errors.ts'
import type { Cuttable, Live } from '../live.ts'
import type { UpstreamTimeouts } from '../upstream/rules.ts'
import type { Sent, ServiceListener, ServiceRequest } from '../upstream/service-call.ts'
import type { Attempt, Upstreams } from '../upstream/upstreams.ts'
import { AnswerWriter } from './answer-writer.ts'
import { watchPace } from './body-pace.ts'
import { answerFailure } from './failure.ts'
import { buildAnswerHead, buildInterimHead, mayTrail, passTrailers } from './heads/answer-head.ts'
import { buildRequestHead, trailersUp } from './heads/request-head.ts'
import { type GatewayFacts, schemeOf, tellService } from './heads/told.ts'
import { mapUrl } from './paths/service-path.ts'
import { openProviderWay, type ProviderWay } from './provider-way.ts'
import { TargetWalk } from './targets/target-walk.ts'
import type { Targets } from './targets/targets.ts'
import { bodyOf, countBody, hasBody } from './upload.ts'

/** What all requests to services share; one per app. */
export interface ForwardShared extends GatewayFacts {
  upstreams: Upstreams
  targets: Targets
  catalog(): Catalog
  upstreamHeaders: UpstreamHeaders
  deadlines: Deadlines
  live: Live
  timeouts: UpstreamTimeouts & { bodyTimeoutMs: number }
  /** A clock that never goes back. */
  now(): number
}

/** What ends with its token is looked at when it runs so long; nearly all is over by then. */
const BRIEF_MS = 1_000
const REVOKED = 'The credential of this request is no longer valid.'

/** One request there and back: the client's bytes and the service's, as they come. */
export class Forward implements ServiceListener, Cuttable {
  slot = -1
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #shared: ForwardShared
  readonly #found: FoundRoute
  readonly #route: ServiceRoute
  readonly #walk: TargetWalk
  readonly #writer: AnswerWriter
  readonly #provider: ProviderWay | undefined
  readonly #total: Deadline
  readonly #startedMs: number
  readonly #hasBody: boolean
  #place: ServiceTarget | undefined
  #head: string[] | undefined
  #attempt: Attempt | undefined
  #state: 'asking' | 'answering' | 'over' = 'asking'

  constructor(request: FastifyRequest, reply: FastifyReply, { service, shared }: Forwarding) {
    const { route } = service
    const { timeouts, targets, deadlines } = shared
    this.#request = request
    this.#reply = reply
    this.#shared = shared
    this.#found = service
    this.#route = route
    this.#hasBody = hasBody(request.raw)
    this.#walk = new TargetWalk({ route, request, targets, hasBody: this.#hasBody })
    const patienceMs = Math.max(route.timeouts.idleMs ?? 0, timeouts.idleTimeoutMs)
    this.#writer = new AnswerWriter(reply.raw, patienceMs)
    this.#provider = openProviderWay(route, shared.catalog())
    this.#total = deadlines.open(() => this.#runOut())
    this.#startedMs = shared.now()
  }

  start(): void {
    const { live, timeouts, deadlines } = this.#shared
    const { raw } = this.#request
    // It left while it was asked who it is.
    if (this.#reply.raw.destroyed) return
    live.add(this)
    // Before the request's line is written, which is told how it ended.
    this.#reply.raw.prependOnceListener('close', () => this.#closed())
    this.#total.start(this.#route.timeouts.totalMs ?? timeouts.totalTimeoutMs)
    if (this.#hasBody) {
      raw.on('error', (error) => this.#bodyFailed(error))
      countBody(raw, {
        mostBytes: this.#route.limits.maxBodyBytes,
        arrived: (bytes) => {
          this.#request.line.bytesIn = bytes
        },
        refused: (error) => this.#fail(error),
      })
      watchPace(raw, deadlines, timeouts.bodyTimeoutMs)
    }
    if (this.#state === 'asking') this.#send(false)
  }

  informed(status: number, headers: string[]): void {
    const { raw } = this.#reply
    if (this.#state !== 'asking' || this.#provider || this.#request.raw.httpVersion !== '1.1') return
    if (!raw.destroyed) raw.writeInformation(status, buildInterimHead(headers, this.#downward()))
  }

  answered(status: number, headers: string[], reason: string): void {
    if (this.#state !== 'asking') return
    if (!this.#walk.takes(status)) {
      this.#attempt?.abort()
      return this.#send(false)
    }
    const { line } = this.#request
    line.firstByteMs = Math.round((this.#shared.now() - this.#startedMs) * 10) / 10
    line.attempts = Math.max(1, this.#walk.asks)
    try {
      this.#writer.begin(status, this.#provider ? '' : reason, this.#answerHead(status, headers))
    } catch (cause) {
      this.#reply.raw.statusMessage = ''
      return this.#fail(upstreamFailed('The service answered with what HTTP does not allow.', { cause }))
    }
    this.#reply.hijack()
    this.#state = 'answering'
  }

  data(bytes: Buffer): void {
    if (this.#state !== 'answering') return
    const passed = this.#provider ? this.#provider.pass(bytes) : bytes
    if (passed.length === 0) return
    const { line } = this.#request
    line.bytesOut = (line.bytesOut ?? 0) + passed.length
    this.#writer.write(passed, this.#attempt)
  }

  ended(trailers: string[]): void {
    if (this.#state !== 'answering') return
    this.#state = 'over'
    const rest = this.#provider?.rest()
    const hasRest = rest !== undefined && rest.length > 0
    const { line } = this.#request
    if (hasRest) line.bytesOut = (line.bytesOut ?? 0) + rest.length
    this.#writer.end(this.#provider ? NONE : passTrailers(trailers, this.#route), hasRest ? rest : undefined)
  }

  failed(error: Error, sent: Sent): void {
    if (this.#state === 'over') return
    if (error instanceof GatewayError) return this.#fail(error)
    if (sent.isBodys) return this.#fail(clientLeft('The client left.', { cause: error }))
    if (this.#state === 'asking') {
      const next = this.#walk.next(error, sent)
      if (next !== undefined) return this.#send(next === 'fresh')
    }
    this.#fail(answerFailure(error, this.#provider ? 'provider' : 'service'))
  }

  /** The gateway goes down. */
  cut(): void {
    this.#fail(gatewayRestarting('The gateway is restarting. Try again in a moment.'))
  }

  secretHash(): string | undefined {
    return this.#shared.now() - this.#startedMs < BRIEF_MS ? undefined : this.#request.secretHash || undefined
  }

  expire(): void {
    this.#fail((this.#request.caller?.kind === 'person' ? invalidToken : invalidApiKey)(REVOKED))
  }

  #send(isFresh: boolean): void {
    try {
      const { origin, request } = this.#build(isFresh)
      this.#attempt = this.#shared.upstreams.send(origin, request, this)
    } catch (error) {
      this.#fail(asError(error))
    }
  }

  #build(isFresh: boolean): { origin: string; request: ServiceRequest } {
    const { raw } = this.#request
    const { timeouts } = this.#shared
    const { connectMs, firstByteMs, idleMs } = this.#route.timeouts
    const place = this.#provider?.place ?? this.#walk.begin()
    if (!place) throw notFound('No such path.')
    this.#place = place
    const path = this.#provider
      ? this.#provider.path(raw.url ?? '')
      : mapUrl(raw.url ?? '', this.#route, place)
    if (path === undefined)
      throw invalidRequest('The path begins with two slashes behind its route. Send it with one.')
    return {
      origin: place.origin,
      request: {
        method: this.#request.method,
        path,
        headers: this.#requestHead(),
        body: bodyOf(raw),
        trailers: this.#hasBody ? () => trailersUp(raw.rawTrailers, this.#route) : undefined,
        connectTimeoutMs: connectMs,
        firstByteMs: firstByteMs ?? this.#usualFirstByteMs(),
        idleMs: idleMs ?? timeouts.idleTimeoutMs,
        isFresh,
      },
    }
  }

  /** Whether a provider streams is not known here. */
  #usualFirstByteMs(): number {
    const { answerTimeoutMs, firstByteTimeoutMs } = this.#shared.timeouts
    return this.#provider ? Math.max(answerTimeoutMs, firstByteTimeoutMs) : firstByteTimeoutMs
  }

  /** It is the same for each target. */
  #requestHead(): string[] {
    const request = this.#request
    if (this.#provider) return this.#provider.requestHead(request.raw.headers, this.#shared.upstreamHeaders)
    this.#head ??= buildRequestHead(request.raw, tellService(request, this.#found, this.#shared))
    return this.#head
  }

  #answerHead(status: number, headers: string[]): string[] {
    const own: { [name: string]: unknown } = this.#reply.getHeaders()
    const request = this.#request
    if (this.#provider) return this.#provider.answerHead(status, headers, own)
    const { current } = this.#walk
    const cookie =
      current && this.#route.sticky
        ? this.#shared.targets.stickyCookie(this.#route, current, {
            headers: request.headers,
            isSecure: schemeOf(request) === 'https',
          })
        : undefined
    if (cookie !== undefined) own['set-cookie'] = cookie
    const trails = mayTrail(request.raw, status, headers)
    return buildAnswerHead(headers, { ...this.#downward(), mayTrail: trails, isEmpty: status === 204, own })
  }

  #downward() {
    const scheme = schemeOf(this.#request)
    const { url, cors } = this.#request
    const target = this.#place ?? NOWHERE
    return { route: this.#route, target, scheme, hasCors: cors !== undefined, asked: pathOf(url) }
  }

  #bodyFailed(error: Error): void {
    if (error instanceof GatewayError) this.#fail(error)
  }

  #runOut(): void {
    this.#fail(upstreamTimeout(`The ${this.#provider ? 'provider' : 'service'} took too long.`))
  }

  /** An error while there is still a status to give; afterwards the answer is cut. */
  #fail(error: Error): void {
    if (this.#state === 'over') return
    const isAnswering = this.#state === 'answering'
    this.#state = 'over'
    this.#attempt?.abort()
    const { line } = this.#request
    if (!isAnswering) return void this.#reply.send(error)
    line.error ??= error instanceof GatewayError ? error.code : 'internal_error'
    line.status = error instanceof GatewayError ? error.statusCode : 500
    this.#writer.cut()
  }

  /** The answer is out, or its client gone. */
  #closed(): void {
    if (this.#state !== 'over') {
      this.#state = 'over'
      this.#attempt?.abort()
      this.#request.line.error ??= clientLeft('The client left.').code
    }
    this.#writer.stop()
    this.#total.stop()
    this.#request.line.attempts ??= this.#walk.asks
    this.#walk.end()
    this.#shared.live.delete(this)
  }
}

export interface Forwarding {
  service: FoundRoute
  shared: ForwardShared
}

const NONE: readonly string[] = []
const NOWHERE: ServiceTarget = { origin: '', basePath: '' }
