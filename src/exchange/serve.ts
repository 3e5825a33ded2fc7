import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Endpoint } from '../dialects/endpoints.ts'
import type { Ask } from '../request/ask.ts'
import { planSteps, type Step } from '../routing/plan.ts'
import type { Hold, Settlement } from '../stores/contracts/accounts.ts'
import type { KeptAnswer } from '../stores/contracts/idempotency.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import { ClientDownstream } from './downstream.ts'
import { Exchange } from './exchange.ts'
import { claimKey, type KeyedExchange, sendAgain } from './idempotent.ts'
import { readAsk } from './read-ask.ts'
import type { Shared } from './shared.ts'

/** One request to an endpoint that costs. */
export interface PaidCall {
  request: FastifyRequest
  reply: FastifyReply
  endpoint: Endpoint
}

/** The second map: what happens to one paid request, in this order. */
export async function serve(call: PaidCall, shared: Shared): Promise<FastifyReply | undefined> {
  const { request, reply, endpoint } = call
  const startedMs = performance.now() - reply.elapsedTime
  const at = shared.wallMs()
  let ask: Ask | undefined
  let key: KeyedExchange | undefined
  try {
    const reading = readAsk(call, shared) // what is asked: request/
    const read = reading instanceof Promise ? await reading : reading
    ask = read
    request.line.model = read.model
    if (request.headers['idempotency-key'] !== undefined)
      key = await claimKey(shared.keys, { request, endpoint, ask: read, at }) // was it asked before?
    if (key?.again) {
      letGo(request, read)
      return sendKept(call, key.again, shared)
    }
    const steps = planFor(call, read, shared) // who may answer: routing/
    const hold = await shared.hold(
      shared.tokens,
      { token: request.token, requestId: request.id },
      steps,
      read,
    ) // billing/
    startExchange(call, { ask: read, steps, hold, key, at, startedMs }, shared) // there and back; it settles
    return undefined
  } catch (error) {
    await key?.free()
    letGo(request, ask)
    throw error
  }
}

function sendKept(
  { request, reply }: PaidCall,
  answer: KeptAnswer,
  { memory, timeouts }: Shared,
): FastifyReply {
  const lease = memory.open(request.token.id)
  return sendAgain(reply, { answer, lease, idleTimeoutMs: timeouts.idleTimeoutMs })
}

function planFor(
  { request: { token }, endpoint: { dialect } }: PaidCall,
  { model, besides }: Ask,
  { catalog, budget }: Shared,
): readonly Step[] {
  const steps = planSteps({ catalog: catalog(), model, besides, allowed: token.models, dialect })
  budget.earn()
  return steps
}

interface Planned {
  ask: Ask
  steps: readonly Step[]
  hold: Hold
  key: KeyedExchange | undefined
  at: number
  startedMs: number
}

/** From here on the answer is the exchange's: it frees the body, ends the key and settles the hold. */
function startExchange(
  { request, reply, endpoint }: PaidCall,
  { ask, steps, hold, key, at, startedMs }: Planned,
  shared: Shared,
): void {
  const { tokens } = shared
  const settleHold = (row: UsageRow): Promise<Settlement> => tokens.settle(hold.id, row)
  reply.hijack()
  const plain = new ClientDownstream(request, reply, { endpoint, errors: shared.errors })
  const paid = {
    request,
    token: request.token,
    endpoint,
    ask,
    steps,
    hold,
    tokens,
    settle: key?.settling(settleHold) ?? settleHold,
    downstream: key?.watch(plain) ?? plain,
    at,
    startedMs,
  }
  new Exchange(paid, shared).start()
}

/** What is kept of the body is needed no more. Of a request that is served, its exchange does this at its end. */
function letGo({ bodyLease }: FastifyRequest, ask: Ask | undefined): void {
  ask?.discard()
  bodyLease?.release()
}
