import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Endpoint } from '../dialects/endpoints.ts'
import type { Ask } from '../request/ask.ts'
import { collectCodedBody, refuseCoding } from '../request/coded-body.ts'
import { collectBody, findTypeMistake } from '../request/json-ask.ts'
import { planSteps, type Step } from '../routing/plan.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { ClientDownstream } from './downstream.ts'
import { Exchange } from './exchange.ts'
import { claimKey, type KeyedExchange, sendAgain } from './idempotent.ts'
import type { PaidCall, Shared } from './paid-call.ts'
import { jsonLimits, MAX_UPLOAD_BYTES, readAsk } from './read-ask.ts'

/** One paid request as it comes in, and when: since 1970, and on the monotonic clock. */
interface Incoming {
  request: FastifyRequest
  reply: FastifyReply
  endpoint: Endpoint
  at: number
  startedMs: number
}

/** The second map: what happens to one paid request, in this order. Whatever refuses it frees its key and its body. */
async function serve(incoming: Incoming, shared: Shared): Promise<FastifyReply | undefined> {
  const { request, reply, endpoint } = incoming
  let ask: Ask | undefined
  let key: KeyedExchange | undefined
  try {
    const reading = readAsk(request, endpoint, shared) // what is asked
    ask = reading instanceof Promise ? await reading : reading
    request.line.model = ask.model
    if (request.headers['idempotency-key'] !== undefined)
      key = await claimKey(shared.idempotency, { ...incoming, ask }) // was it asked before
    if (key?.again) {
      letGo(request, ask)
      return sendAgain(reply, { answer: key.again, ...readerOf(request, shared) })
    }
    const steps = plan(incoming, ask, shared) // who may answer
    const payer = { token: request.token, requestId: request.id }
    const hold = await shared.hold(shared.tokens, payer, steps, ask) // who pays
    reply.hijack()
    new Exchange(buildCall(incoming, { ask, steps, hold, key }, shared), shared).start() // there and back, and the bill
    return undefined
  } catch (error) {
    await key?.free()
    letGo(request, ask)
    throw error
  }
}

function plan({ request: { token }, endpoint: { dialect } }: Incoming, ask: Ask, shared: Shared): Step[] {
  const { model, besides } = ask
  return planSteps({ catalog: shared.catalog(), model, besides, allowed: token.models, dialect })
}

interface Planned extends Pick<PaidCall, 'ask' | 'steps' | 'hold'> {
  key: KeyedExchange | undefined
}

function buildCall(incoming: Incoming, { ask, steps, hold, key }: Planned, shared: Shared): PaidCall {
  const { request, reply, endpoint, at, startedMs } = incoming
  const { tokens, errors } = shared
  const settleHold = (row: UsageRow): Promise<Settlement> => tokens.settle(hold.id, row)
  const settle = key?.settling(settleHold) ?? settleHold
  const client = new ClientDownstream(request, reply, { endpoint, errors })
  const downstream = key?.watch(client) ?? client
  const { token } = request
  return { request, token, endpoint, ask, steps, hold, tokens, settle, downstream, at, startedMs }
}

/** What bounds a client that reads an answer of before. */
function readerOf({ token }: FastifyRequest, { memory, timeouts }: Shared) {
  return { lease: memory.open(token.id), idleTimeoutMs: timeouts.idleTimeoutMs }
}

/** What is kept of the body is needed no more. Of a request that is served, its exchange does this at its end. */
function letGo({ bodyLease }: FastifyRequest, ask: Ask | undefined): void {
  ask?.discard()
  bodyLease?.release()
}

export interface PaidOptions {
  endpoints: readonly Endpoint[]
  shared: Shared
}

/** The endpoints that cost: body in, plan, hold, and then the exchange with the providers. */
export async function paidRoutes(app: FastifyInstance, { endpoints, shared }: PaidOptions): Promise<void> {
  app.removeAllContentTypeParsers()
  app.decorateRequest('bodyLease')
  const limits = jsonLimits(shared)
  app.addContentTypeParser('application/json', (request, payload, done) => {
    const mistake = findTypeMistake(request.headers['content-type'])
    if (mistake) done(mistake)
    else if (request.headers['content-encoding'] === undefined) collectBody(request, payload, limits, done)
    else collectCodedBody(request, payload, limits, done)
  })
  app.addContentTypeParser('multipart/form-data', (request, payload, done) =>
    done(refuseCoding(request.headers['content-encoding']) ?? null, payload),
  )
  for (const endpoint of endpoints) {
    const config = { paid: endpoint, isUncounted: endpoint.dialect.isFree }
    app.post(endpoint.path, { bodyLimit: MAX_UPLOAD_BYTES, config }, (request, reply) =>
      serve(
        { request, reply, endpoint, at: shared.wallMs(), startedMs: performance.now() - reply.elapsedTime },
        shared,
      ),
    )
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    paid?: Endpoint
  }
}
