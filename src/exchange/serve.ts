import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Endpoint } from '../dialects/endpoints.ts'
import type { Ask } from '../request/ask.ts'
import { collectBody, findTypeMistake } from '../request/body.ts'
import { planSteps } from '../routing/plan.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { ClientDownstream } from './downstream.ts'
import { Exchange } from './exchange.ts'
import { claimKey, type KeyedExchange, sendAgain } from './idempotent.ts'
import type { Shared } from './paid-call.ts'
import { jsonLimits, MAX_UPLOAD_BYTES, readAsk } from './read-ask.ts'

/** The second map: what happens to one paid request, in this order. Whatever refuses it frees its key and its body. */
export async function serve(
  request: FastifyRequest,
  reply: FastifyReply,
  endpoint: Endpoint,
  shared: Shared,
): Promise<FastifyReply | undefined> {
  const { token } = request
  const startedMs = performance.now() - reply.elapsedTime
  const at = shared.wallMs()
  let ask: Ask | undefined
  let key: KeyedExchange | undefined
  try {
    const reading = readAsk(request, endpoint, shared) // what is asked
    ask = reading instanceof Promise ? await reading : reading
    request.line.model = ask.model
    if (request.headers['idempotency-key'] !== undefined)
      key = await claimKey(shared.idempotency, { request, endpoint, ask, at }) // was it asked before
    if (key?.again) {
      letGo(request, ask)
      const { idleTimeoutMs } = shared.timeouts
      return sendAgain(reply, { answer: key.again, lease: shared.memory.open(token.id), idleTimeoutMs })
    }
    const steps = plan(request, ask, endpoint, shared) // who may answer
    const hold = await shared.hold(shared.tokens, { token, requestId: request.id }, steps, ask) // who pays
    const settleHold = (row: UsageRow): Promise<Settlement> => shared.tokens.settle(hold.id, row)
    const settle = key?.settling(settleHold) ?? settleHold
    reply.hijack()
    const client = new ClientDownstream(request, reply, { endpoint, errors: shared.errors })
    const downstream = key?.watch(client) ?? client
    const { tokens } = shared
    const call = { request, token, endpoint, ask, steps, hold, tokens, settle, downstream, at, startedMs }
    new Exchange(call, shared).start() // there and back, and it settles
    return undefined
  } catch (error) {
    await key?.free()
    letGo(request, ask)
    throw error
  }
}

function plan({ token }: FastifyRequest, ask: Ask, { dialect }: Endpoint, shared: Shared) {
  const { model, besides } = ask
  return planSteps({ catalog: shared.catalog(), model, besides, allowed: token.models, dialect })
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
    else collectBody(request, payload, limits, done)
  })
  app.addContentTypeParser('multipart/form-data', (_request, payload, done) => done(null, payload))
  for (const endpoint of endpoints) {
    const config = { paid: endpoint }
    app.post(endpoint.path, { bodyLimit: MAX_UPLOAD_BYTES, config }, (request, reply) =>
      serve(request, reply, endpoint, shared),
    )
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    paid?: Endpoint
  }
}
