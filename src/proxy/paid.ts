import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Catalog } from '../config/models.ts'
import { bodyTooSlow, unsupportedMedia } from '../errors.ts'
import type { RequestFacts } from '../metering/worst-case.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import { planSteps, type Step } from '../routing/plan.ts'
import type { IdempotencyStore } from '../stores/idempotency.ts'
import type { Hold, Settlement, Token, TokenStore, UsageRow } from '../stores/token-store.ts'
import type { Ask } from './ask.ts'
import { collectBody } from './body.ts'
import type { ExchangeTools } from './deal.ts'
import { ClientDownstream, type ErrorWriter } from './downstream.ts'
import { Exchange } from './exchange.ts'
import { claimKey, type KeyedExchange, sendAgain } from './idempotent.ts'
import { readJsonAsk } from './json-ask.ts'
import { readMultipartAsk } from './multipart-ask.ts'
import { checkQuery, findTypeMistake } from './one-reading.ts'
import { createJoiner } from './whole.ts'

const MAX_JSON_BYTES = 10 * 1024 * 1024
const MAX_UPLOAD_BYTES = 300 * 1024 * 1024

interface Payer {
  token: Token
  requestId: string
}

export interface PaidOptions {
  endpoints: readonly Endpoint[]
  catalog(): Catalog
  tokens: TokenStore
  keys: IdempotencyStore
  /** Sets the worst case aside, or turns the request away. */
  hold(store: TokenStore, who: Payer, steps: readonly Step[], facts: RequestFacts): Promise<Hold>
  errors: ErrorWriter
  tools: ExchangeTools
  /** How long a JSON body may take to arrive, and an upload may pause. */
  bodyTimeoutMs: number
}

/** The endpoints that cost: body in, plan, hold, and then the exchange with the providers. */
export const paidRoutes = async (app: FastifyInstance, options: PaidOptions): Promise<void> => {
  app.removeAllContentTypeParsers()
  const { deadlines } = options.tools
  const limits = { maxBytes: MAX_JSON_BYTES, timeoutMs: options.bodyTimeoutMs, deadlines }
  app.addContentTypeParser('application/json', (request, payload, done) => {
    const mistake = findTypeMistake(request.headers['content-type'])
    if (mistake) done(mistake)
    else collectBody(request, payload, limits, done)
  })
  app.addContentTypeParser('multipart/form-data', (_request, payload, done) => done(null, payload))
  const means = { ...options, join: createJoiner() }
  for (const endpoint of options.endpoints) {
    app.post(endpoint.path, { bodyLimit: MAX_UPLOAD_BYTES }, (request, reply) =>
      relay(request, reply, endpoint, means),
    )
  }
}

const relay = async (
  request: FastifyRequest,
  reply: FastifyReply,
  endpoint: Endpoint,
  options: Means,
): Promise<FastifyReply | undefined> => {
  const startedMs = performance.now() - reply.elapsedTime
  const at = options.tools.now()
  const reading = readAsk(request, endpoint, options)
  const ask = reading instanceof Promise ? await reading : reading
  const { token } = request
  request.line.model = ask.model
  let key: KeyedExchange | undefined
  try {
    if (request.headers['idempotency-key'] !== undefined)
      key = await claimKey(options.keys, { request, endpoint, ask, at })
    if (key?.again) {
      ask.discard()
      return sendAgain(reply, key.again)
    }
    const steps = planSteps({
      catalog: options.catalog(),
      model: ask.model,
      besides: ask.besides,
      allowed: token.models,
      endpoint,
    })
    options.tools.budget.earn()
    const hold = await options.hold(options.tokens, { token, requestId: request.id }, steps, ask)
    const settleHold = (row: UsageRow): Promise<Settlement> => options.tokens.settle(hold.id, row)
    reply.hijack()
    const plain = new ClientDownstream(request, reply, { endpoint, errors: options.errors })
    const deal = {
      request,
      token,
      endpoint,
      ask,
      steps,
      hold,
      tokens: options.tokens,
      settle: key?.settling(settleHold) ?? settleHold,
      downstream: key?.watch(plain) ?? plain,
      at,
      startedMs,
    }
    new Exchange(deal, options.tools).start()
    return undefined
  } catch (error) {
    await key?.free()
    ask.discard()
    throw error
  }
}

interface Means extends PaidOptions {
  join: ReturnType<typeof createJoiner>
}

const readAsk = (request: FastifyRequest, endpoint: Endpoint, means: Means): Ask | Promise<Ask> => {
  const { body } = request
  checkQuery(request.url)
  if (isChunks(body)) {
    if (endpoint.takes !== 'multipart')
      return readJsonAsk(endpoint, means.join(body), inTurns(request, means))
    throw unsupportedMedia('Send this as multipart/form-data')
  }
  if (body === undefined || endpoint.takes === 'json') throw unsupportedMedia('Send this as application/json')
  const limits = { maxBytes: MAX_UPLOAD_BYTES, timeoutMs: means.bodyTimeoutMs }
  return readMultipartAsk(endpoint, request.raw, limits)
}

/** A client that is gone takes no more turns. */
const inTurns =
  ({ token, raw }: FastifyRequest, { tools }: Means) =>
  (step: () => boolean): Promise<void> =>
    tools.turns.run(token.id, () => {
      if (raw.socket.destroyed) throw bodyTooSlow('The connection closed while the body was read')
      return step()
    })

/** What `collectBody` leaves; a form upload is its stream. */
const isChunks = (body: unknown): body is Buffer[] => Array.isArray(body)
