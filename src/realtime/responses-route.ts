import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Billed } from '../billing/bill.ts'
import type { Provider } from '../config/catalog/catalog.ts'
import { openaiResponses } from '../dialects/openai-responses.ts'
import { insufficientQuota, upgradeRequired } from '../errors.ts'
import { isExhausted, ownFault, readNetworkFailure } from '../routing/failover.ts'
import { isModelAllowed, planSteps } from '../routing/plan.ts'
import { headerRecord } from '../upstream/rules.ts'
import type { Dialed, DialTarget } from '../upstream/websocket-dial.ts'
import { addWebsocketRoute, whenGone } from '../websocket/upgrade.ts'
import { ResponsesSession } from './responses-session.ts'
import type { RealtimeOptions } from './route.ts'

/** A provider that has no such socket is not dialed again for so long; one that failed otherwise for less. */
const LACKING_MS = 600_000
const FAILED_MS = 10_000
const LACKING: readonly number[] = [400, 404, 405, 426, 501]

/** A provider that is not worth a dial, on the clock that nobody sets. */
interface Rest {
  untilMs: number
  /** The tokens that it refused: one alone may have sent what it does not take, and rests it for nobody else. */
  tokens: ReadonlySet<string>
  /** It refused nobody, but could not be reached. */
  isForAll: boolean
}

/** Of a provider as the settings have it: another key or address makes another one. */
type Rests = WeakMap<Provider, Rest>

/** `GET /v1/responses`: a paid socket whose messages are the requests. */
export async function responsesRoute(app: FastifyInstance, options: RealtimeOptions): Promise<void> {
  const rests: Rests = new WeakMap()
  addWebsocketRoute(app, {
    url: '/responses',
    prepare: (request, reply) => prepare(request, reply, options, rests),
  })
}

async function prepare(
  request: FastifyRequest,
  reply: FastifyReply,
  options: RealtimeOptions,
  rests: Rests,
): Promise<void> {
  const { token } = request
  const now = options.shared.now()
  const candidates = findCandidates(request, options).filter(
    (provider) => !restsFor(token.id, rests.get(provider), now),
  )
  if (candidates.length === 0) throw noSockets()
  const { balanceMicros, heldMicros } = await options.tokens.credits(token.id)
  if (balanceMicros + heldMicros <= 0)
    throw insufficientQuota('Your balance is used up: have your token topped up')
  const session = openSession(request, options, rests)
  whenGone(request, () => session.over())
  try {
    const opened = await session.open(candidates)
    if (!opened) throw noSockets()
    reply.header('x-gateway-provider', opened.provider.name)
    request.server.acceptUpgrade(request, reply, {
      protocol: undefined,
      headers: { 'x-gateway-attempts': String(request.line.attempts) },
      begin: (client) => session.begin(client, opened.end),
    })
  } catch (error) {
    session.over()
    throw error
  }
}

/** Clients such as Codex go on over HTTP when they read this status. */
function noSockets() {
  return upgradeRequired('No provider takes WebSockets here. Send your requests as POST /v1/responses.')
}

function openSession(
  request: FastifyRequest,
  { catalog, tokens, hold, shared }: RealtimeOptions,
  rests: Rests,
): ResponsesSession {
  const { token } = request
  const billed = new Billed()
  let leaveSockets = (): void => {}
  const session = new ResponsesSession({
    request,
    catalog,
    store: tokens,
    hold: (requestId, step, facts) => hold(tokens, { token, requestId }, [step], facts),
    shared,
    targetOf: (provider) => buildTarget(request, provider, shared),
    refused: (provider, dialed) => {
      if (dialed.kind === 'refused' && dialed.refusal.status === 401) shared.keyRefused?.(provider)
      const failure = dialed.kind === 'failed' ? readNetworkFailure(dialed.error) : undefined
      if (failure && isExhausted(failure)) throw ownFault(failure)
      rests.set(provider, addRefusal(rests.get(provider), token.id, { dialed, now: shared.now() }))
    },
    leave() {
      shared.live.delete(session)
      leaveSockets()
      billed.over()
    },
  })
  leaveSockets = shared.sockets.enter({ key: token.id, secretHash: request.secretHash }, session)
  shared.live.add(session)
  request.billing = billed
  return session
}

function restsFor(tokenId: string, rest: Rest | undefined, now: number): boolean {
  if (!rest || rest.untilMs <= now) return false
  return rest.isForAll || rest.tokens.size > 1 || rest.tokens.has(tokenId)
}

function addRefusal(
  rest: Rest | undefined,
  tokenId: string,
  { dialed, now }: { dialed: Dialed; now: number },
): Rest {
  const isLacking = dialed.kind === 'refused' && LACKING.includes(dialed.refusal.status)
  const earlier = rest && rest.untilMs > now ? rest.tokens : []
  return {
    untilMs: now + (isLacking ? LACKING_MS : FAILED_MS),
    tokens: new Set([...earlier, tokenId]),
    isForAll: dialed.kind !== 'refused',
  }
}

/** Who may answer: of the model in the URL, or else of all that the token may use, for no message has named one yet. */
function findCandidates({ url, token }: FastifyRequest, options: RealtimeOptions): Provider[] {
  const catalog = options.catalog()
  const allowed = token.models
  const model = new URLSearchParams(/\?(.*)/s.exec(url)?.[1]).get('model')
  if (model !== null)
    return [
      ...new Set(
        planSteps({ catalog, model, besides: [], allowed, dialect: openaiResponses }).map(
          ({ provider }) => provider,
        ),
      ),
    ]
  const { models, patterns, wildcard } = catalog
  const listed = [...models.values()].filter(({ name }) => isModelAllowed(allowed, name))
  const plans = [...listed, ...patterns, ...(wildcard ? [wildcard] : [])].flatMap(({ plan }) => plan)
  const able = new Set(plans.map(({ provider }) => provider.name))
  return [...catalog.providers.values()].filter(
    (provider) => able.has(provider.name) && openaiResponses.isSpokenBy(provider),
  )
}

/** Nothing of the client's query goes up. */
function buildTarget(
  request: FastifyRequest,
  provider: Provider,
  { upstreamHeaders }: RealtimeOptions['shared'],
): DialTarget {
  const client = { ...request.headers, 'content-type': undefined }
  return {
    url: new URL(`${provider.origin}${provider.basePath}/responses`),
    headers: headerRecord(upstreamHeaders(client, provider, openaiResponses)),
    protocols: [],
  }
}
