import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Billed } from '../billing/bill.ts'
import type { HeldFacts } from '../billing/hold.ts'
import type { Catalog } from '../config/catalog/catalog.ts'
import { isModelName, MODEL_NAME } from '../config/catalog/model-name.ts'
import { copyDownward, type UpstreamHeaders } from '../dialects/headers.ts'
import { openaiRealtime } from '../dialects/openai-realtime.ts'
import { invalidRequest, missingModel } from '../errors.ts'
import type { CostFacts } from '../metering/price.ts'
import type { NextInput } from '../metering/realtime.ts'
import { planSteps, type Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import { headerRecord } from '../upstream/rules.ts'
import type { DialTarget } from '../upstream/websocket-dial.ts'
import { addWebsocketRoute, passRefusal, readProtocols, whenGone } from '../websocket/upgrade.ts'
import { RealtimeSession, type RealtimeShared } from './session.ts'
import { RealtimeBill } from './socket-bill.ts'

export interface RealtimeOptions {
  catalog(): Catalog
  tokens: Accounts
  /** Sets the worst case of one response aside, or turns the request away. */
  hold(
    store: Accounts,
    who: { token: Token; requestId: string },
    steps: readonly Step[],
    facts: HeldFacts,
  ): Promise<Hold>
  shared: RealtimeShared
}

/** `GET /v1/realtime?model=`: a paid socket. */
export async function realtimeRoute(app: FastifyInstance, options: RealtimeOptions): Promise<void> {
  addWebsocketRoute(app, {
    url: '/realtime',
    prepare: (request, reply) => prepare(request, reply, options),
  })
}

async function prepare(
  request: FastifyRequest,
  reply: FastifyReply,
  options: RealtimeOptions,
): Promise<void> {
  const model = readModel(request.url)
  request.line.model = model
  const { token } = request
  const steps = planSteps({
    catalog: options.catalog(),
    model,
    allowed: token.models,
    besides: [],
    dialect: openaiRealtime,
  })
  const { session, bill } = await openSession(request, { model, steps }, options)
  whenGone(request, () => session.over())
  try {
    const opened = await session.open()
    if ('refusal' in opened) {
      session.over()
      return await passRefusal(reply, opened.refusal, copyDownward)
    }
    const offered = readProtocols(request.headers) ?? []
    reply.header('x-gateway-provider', opened.step.provider.name)
    reply.header('x-gateway-model', encodeURI(opened.step.upstreamModel.toWellFormed()))
    request.server.acceptUpgrade(request, reply, {
      protocol: offered.includes('realtime') ? 'realtime' : opened.protocol,
      headers: bill.headers(),
      begin: (client) => session.begin(client, opened.end),
    })
  } catch (error) {
    session.over()
    throw error
  }
}

async function openSession(
  request: FastifyRequest,
  { model, steps }: { model: string; steps: readonly Step[] },
  { tokens, hold, shared }: RealtimeOptions,
): Promise<{ session: RealtimeSession; bill: RealtimeBill }> {
  const { token } = request
  const bill = new RealtimeBill({
    request,
    token,
    model,
    store: tokens,
    now: shared.wallMs,
    hold: (requestId, input) => hold(tokens, { token, requestId }, steps, realtimeFacts(input)),
  })
  const billed = new Billed()
  let leaveSockets = (): void => {}
  const leave = (): void => {
    shared.live.delete(session)
    leaveSockets()
    billed.over()
  }
  const targetOf = (step: Step): DialTarget => buildTarget(request, step, shared.upstreamHeaders)
  const session = new RealtimeSession({ request, model, steps, bill, shared, targetOf, leave })
  leaveSockets = shared.sockets.enter({ key: token.id, secretHash: request.secretHash }, session)
  try {
    await bill.open()
  } catch (error) {
    leaveSockets()
    throw error
  }
  shared.live.add(session)
  request.billing = billed
  return { session, bill }
}

function realtimeFacts({ mostTokens, leastTokens }: NextInput): CostFacts {
  return {
    dialect: openaiRealtime,
    inputTokens: mostTokens,
    leastInputTokens: leastTokens,
    choices: 1,
    images: 0,
    characters: 0,
    seconds: 0,
  }
}

/** The model is all of the query that goes up: other names (`call_id`) would reach into sessions of other tenants. */
function buildTarget(
  request: FastifyRequest,
  { provider, upstreamModel, dialect }: Step,
  upstreamHeaders: UpstreamHeaders,
): DialTarget {
  const url = new URL(`${provider.origin}${provider.basePath}/realtime`)
  url.searchParams.set('model', upstreamModel)
  // A handshake has no body that a type could be of.
  const client = { ...request.headers, 'content-type': undefined }
  const headers = headerRecord(upstreamHeaders(client, provider, dialect))
  return { url, headers, protocols: realtimeProtocols(readProtocols(request.headers) ?? []) }
}

/** Those that a realtime provider knows: nothing of the client's own goes to it. */
function realtimeProtocols(names: readonly string[]): string[] {
  return names.filter((name) => name === 'realtime' || /^openai-beta\./.test(name))
}

function readModel(url: string): string {
  const start = url.indexOf('?')
  const names = start < 0 ? [] : new URLSearchParams(url.slice(start + 1)).getAll('model')
  const [model = ''] = names
  if (model === '') throw missingModel('Name a model in the URL: /v1/realtime?model=...', { param: 'model' })
  if (names.length > 1 || !isModelName(model))
    throw invalidRequest(`"model" must stand once, and be ${MODEL_NAME}`, { param: 'model' })
  return model
}
