import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Catalog, Price } from '../config/catalog/catalog.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { bodyTooSlow, unsupportedMedia } from '../errors.ts'
import type { RequestFacts } from '../metering/worst-case.ts'
import type { Ask } from '../request/ask.ts'
import { collectBody, isChunks, type JsonLimits } from '../request/body.ts'
import { type LongReading, readJsonAsk } from '../request/json-ask.ts'
import { leastFacts } from '../request/least-facts.ts'
import { readMultipartAsk } from '../request/multipart-ask.ts'
import type { UploadLimits } from '../request/multipart-upload.ts'
import { checkQuery, findTypeMistake } from '../request/one-reading.ts'
import type { SharedBytes } from '../request/shared-bytes.ts'
import type { SpoolRoom } from '../request/spool.ts'
import { wholeOf } from '../request/whole.ts'
import { planSteps, pricesOf, type Step } from '../routing/plan.ts'
import type { Accounts, Hold, Settlement } from '../stores/contracts/accounts.ts'
import type { IdempotencyStore } from '../stores/contracts/idempotency.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import type { ExchangeTools } from './deal.ts'
import { ClientDownstream, type ErrorWriter } from './downstream.ts'
import { Exchange } from './exchange.ts'
import { claimKey, type KeyedExchange, sendAgain } from './idempotent.ts'

const MAX_JSON_BYTES = 10 * 1024 * 1024
const MAX_UPLOAD_BYTES = 300 * 1024 * 1024
/** By so much two forms of one content may differ: clients choose a boundary anew. */
const FRAMING_BYTES = 16 * 1024

interface Payer {
  token: Token
  requestId: string
}

export interface PaidOptions {
  endpoints: readonly Endpoint[]
  catalog(): Catalog
  tokens: Accounts
  keys: IdempotencyStore
  /** Sets the worst case aside, or turns the request away. */
  hold(store: Accounts, who: Payer, steps: readonly Step[], facts: RequestFacts): Promise<Hold>
  /** Turns a body away that is still to be read and cannot be paid, however little it is. */
  refuseUncovered(store: Accounts, token: Token, prices: readonly Price[], facts: RequestFacts): Promise<void>
  errors: ErrorWriter
  tools: ExchangeTools
  /** Of all bodies that are here; of all uploads that lie on disk. */
  memory: SharedBytes
  spool: SpoolRoom
  /** How long a JSON body may take to arrive, and an upload may pause. */
  bodyTimeoutMs: number
}

/** The endpoints that cost: body in, plan, hold, and then the exchange with the providers. */
export const paidRoutes = async (app: FastifyInstance, options: PaidOptions): Promise<void> => {
  app.removeAllContentTypeParsers()
  app.decorateRequest('bodyLease')
  const limits = jsonLimits(options)
  app.addContentTypeParser('application/json', (request, payload, done) => {
    const mistake = findTypeMistake(request.headers['content-type'])
    if (mistake) done(mistake)
    else collectBody(request, payload, limits, done)
  })
  app.addContentTypeParser('multipart/form-data', (_request, payload, done) => done(null, payload))
  for (const endpoint of options.endpoints) {
    const config = { paid: endpoint }
    app.post(endpoint.path, { bodyLimit: MAX_UPLOAD_BYTES, config }, (request, reply) =>
      relay(request, reply, endpoint, options),
    )
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    paid?: Endpoint
  }
}

const jsonLimits = (options: PaidOptions): JsonLimits => ({
  maxBytes: MAX_JSON_BYTES,
  timeoutMs: options.bodyTimeoutMs,
  deadlines: options.tools.deadlines,
  memory: options.memory,
  async refuseUncovered(request, bytes) {
    const { paid } = request.routeOptions.config
    if (paid) await refuseUnpaid(request, paid, { options, bytes, isForm: false })
  },
})

/**
 * By its length alone, before it is read. An answer that is kept under a key costs nothing; a new key says nothing, nor
 * does one whose own body was shorter.
 */
const refuseUnpaid = async (
  request: FastifyRequest,
  endpoint: Endpoint,
  { options, bytes, isForm }: { options: PaidOptions; bytes: number; isForm: boolean },
): Promise<void> => {
  const { token } = request
  const prices = pricesOf({ catalog: options.catalog(), allowed: token.models, endpoint })
  try {
    await options.refuseUncovered(options.tokens, token, prices, leastFacts(endpoint.kind, bytes, isForm))
  } catch (error) {
    const bodyBytes = isForm ? Math.max(0, bytes - FRAMING_BYTES) : bytes
    if (!(await isKeyKnown(request, bodyBytes, options))) throw error
  }
}

const isKeyKnown = async (
  { headers, token }: FastifyRequest,
  bodyBytes: number,
  { keys, tools }: PaidOptions,
): Promise<boolean> => {
  const key = headers['idempotency-key']
  if (typeof key !== 'string') return false
  // A store that cannot be asked refuses the claim itself, in words of its own.
  return keys.isKnown({ tokenId: token.id, key, at: tools.wallMs(), bodyBytes }).catch(() => true)
}

const relay = async (
  request: FastifyRequest,
  reply: FastifyReply,
  endpoint: Endpoint,
  options: PaidOptions,
): Promise<FastifyReply | undefined> => {
  const startedMs = performance.now() - reply.elapsedTime
  const at = options.tools.wallMs()
  let ask: Ask | undefined
  let key: KeyedExchange | undefined
  try {
    const reading = readAsk(request, endpoint, options)
    const read = reading instanceof Promise ? await reading : reading
    ask = read
    request.line.model = read.model
    if (request.headers['idempotency-key'] !== undefined)
      key = await claimKey(options.keys, { request, endpoint, ask: read, at })
    if (key?.again) {
      letGo(request, read)
      return sendAgain(reply, key.again)
    }
    const { hold, steps } = await planAndHold(request, read, endpoint, options)
    const settleHold = (row: UsageRow): Promise<Settlement> => options.tokens.settle(hold.id, row)
    reply.hijack()
    const plain = new ClientDownstream(request, reply, { endpoint, errors: options.errors })
    const deal = {
      request,
      token: request.token,
      endpoint,
      ask: read,
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
    letGo(request, ask)
    throw error
  }
}

const planAndHold = async (
  { token, id: requestId }: FastifyRequest,
  ask: Ask,
  endpoint: Endpoint,
  { catalog, tokens, tools, hold }: PaidOptions,
): Promise<{ steps: readonly Step[]; hold: Hold }> => {
  const steps = planSteps({
    catalog: catalog(),
    model: ask.model,
    besides: ask.besides,
    allowed: token.models,
    endpoint,
  })
  tools.budget.earn()
  return { steps, hold: await hold(tokens, { token, requestId }, steps, ask) }
}

/** What is kept of the body is needed no more. Of a request that is served, its exchange does this at its end. */
const letGo = ({ bodyLease }: FastifyRequest, ask: Ask | undefined): void => {
  ask?.discard()
  bodyLease?.release()
}

const readAsk = (request: FastifyRequest, endpoint: Endpoint, options: PaidOptions): Ask | Promise<Ask> => {
  const { body } = request
  checkQuery(request.url)
  if (isChunks(body)) {
    if (endpoint.takes !== 'multipart')
      return readJsonAsk(endpoint, wholeOf(body), longReading(request, endpoint, options))
    throw unsupportedMedia('Send this as multipart/form-data')
  }
  if (body === undefined || endpoint.takes === 'json') throw unsupportedMedia('Send this as application/json')
  return readMultipartAsk(endpoint, request.raw, uploadLimits(request, endpoint, options))
}

const uploadLimits = (request: FastifyRequest, endpoint: Endpoint, options: PaidOptions): UploadLimits => {
  const lease = options.memory.open(request.token.id)
  request.bodyLease = lease
  return {
    maxBytes: MAX_UPLOAD_BYTES,
    timeoutMs: options.bodyTimeoutMs,
    deadlines: options.tools.deadlines,
    lease,
    openSpool: () => options.spool.open(request.token.id),
    refuseUncovered: (bytes) => refuseUnpaid(request, endpoint, { options, bytes, isForm: true }),
  }
}

const longReading = (
  { token, raw }: FastifyRequest,
  endpoint: Endpoint,
  { tools, catalog }: PaidOptions,
): LongReading => ({
  later: (step) =>
    tools.turns.run(token.id, () => {
      // A client that is gone takes no more turns.
      if (raw.socket.destroyed) throw bodyTooSlow('The connection closed while the body was read')
      return step()
    }),
  refuse(model) {
    planSteps({ catalog: catalog(), model, besides: [], allowed: token.models, endpoint })
  },
})
