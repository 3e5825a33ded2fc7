import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Billed } from '../billing/billed.ts'
import type { Catalog } from '../config/catalog/catalog.ts'
import { isModelName, MODEL_NAME } from '../config/catalog/model-name.ts'
import { upstreamHeaders } from '../dialects/headers.ts'
import { invalidRequest, missingModel } from '../errors.ts'
import type { NextInput } from '../metering/realtime.ts'
import type { RequestFacts } from '../metering/worst-case.ts'
import { planSteps, type Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { DialTarget } from '../websocket/dial.ts'
import { passRefusal } from '../websocket/refusal.ts'
import { readProtocols, realtimeProtocols } from '../websocket/subprotocols.ts'
import type { WebsocketTools } from '../websocket/tools.ts'
import { addWebsocketRoute, whenGone } from '../websocket/upgrade.ts'
import { RealtimeSession } from './session.ts'
import { RealtimeBill } from './socket-bill.ts'

export interface RealtimeOptions {
  catalog(): Catalog
  tokens: Accounts
  /** Sets the worst case of one response aside, or turns the request away. */
  hold(
    store: Accounts,
    who: { token: Token; requestId: string },
    steps: readonly Step[],
    facts: RequestFacts,
  ): Promise<Hold>
  tools: WebsocketTools
}

/** `GET /v1/realtime?model=`: a paid socket. */
export const realtimeRoute = async (app: FastifyInstance, options: RealtimeOptions): Promise<void> => {
  addWebsocketRoute(app, {
    url: '/realtime',
    prepare: (request, reply) => prepare(request, reply, options),
  })
}

const prepare = async (
  request: FastifyRequest,
  reply: FastifyReply,
  options: RealtimeOptions,
): Promise<void> => {
  const model = readModel(request.url)
  request.line.model = model
  const { token } = request
  const steps = planSteps({
    catalog: options.catalog(),
    model,
    allowed: token.models,
    besides: [],
    endpoint: { dialect: 'openai', kind: 'realtime' },
  })
  const { session, bill } = await openSession(request, { model, steps }, options)
  whenGone(request, () => session.over())
  try {
    const opened = await session.open()
    if ('refusal' in opened) {
      session.over()
      return await passRefusal(reply, opened.refusal)
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

const openSession = async (
  request: FastifyRequest,
  { model, steps }: { model: string; steps: readonly Step[] },
  { tokens, hold, tools }: RealtimeOptions,
): Promise<{ session: RealtimeSession; bill: RealtimeBill }> => {
  const { token } = request
  const bill = new RealtimeBill({
    request,
    token,
    model,
    store: tokens,
    now: tools.wallMs,
    hold: (requestId, input) => hold(tokens, { token, requestId }, steps, realtimeFacts(input)),
  })
  const billed = new Billed()
  let leavePlace = (): void => {}
  const leave = (): void => {
    tools.live.delete(session)
    leavePlace()
    billed.over()
  }
  const targetOf = (step: Step): DialTarget => buildTarget(request, step)
  const session = new RealtimeSession({ request, model, steps, bill, tools, targetOf, leave })
  leavePlace = tools.sockets.enter({ key: token.id, secretHash: request.secretHash }, session)
  try {
    await bill.open()
  } catch (error) {
    leavePlace()
    throw error
  }
  tools.budget.earn()
  tools.live.add(session)
  request.billing = billed
  return { session, bill }
}

const realtimeFacts = ({ mostTokens, leastTokens }: NextInput): RequestFacts => ({
  kind: 'realtime',
  inputTokens: mostTokens,
  leastInputTokens: leastTokens,
  choices: 1,
  images: 0,
  characters: 0,
  seconds: 0,
})

/** Of the query the model alone goes up: other names (`call_id`) would reach into sessions of other tenants. */
const buildTarget = (request: FastifyRequest, { provider, upstreamModel }: Step): DialTarget => {
  const url = new URL(`${provider.origin}${provider.basePath}/realtime`)
  url.searchParams.set('model', upstreamModel)
  const flat = upstreamHeaders(request.headers, provider, 'openai')
  const headers: Record<string, string> = {}
  for (let index = 0; index < flat.length; index += 2) headers[flat[index] ?? ''] = flat[index + 1] ?? ''
  delete headers['content-type']
  return { url, headers, protocols: realtimeProtocols(readProtocols(request.headers) ?? []) }
}

const readModel = (url: string): string => {
  const start = url.indexOf('?')
  const names = start < 0 ? [] : new URLSearchParams(url.slice(start + 1)).getAll('model')
  const [model = ''] = names
  if (model === '') throw missingModel('Name a model in the URL: /v1/realtime?model=...', { param: 'model' })
  if (names.length > 1 || !isModelName(model))
    throw invalidRequest(`"model" must stand once, and be ${MODEL_NAME}`, { param: 'model' })
  return model
}
