import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { buildAddressCheck } from './config/address-blocks.ts'
import type { Catalog } from './config/catalog/catalog.ts'
import type { Settings } from './config/env/settings.ts'
import { makeRequestId, readAddresses } from './entrance/arrival.ts'
import { clientErrorHandler, frameworkErrors, refuseTunnel } from './entrance/error-reply.ts'
import { watchClients } from './entrance/half-closed.ts'
import { askWhenRead, createHearingResponse, gatherChunks } from './entrance/incoming-body.ts'
import { codeOf, invalidRequest, upstreamTimeout } from './errors.ts'
import { schemaController } from './route-schemas.ts'
import { ownUpgrades, shouldUpgrade } from './websocket/handshake.ts'

/** Fastify takes it as `logController`: the request line is ours, so its own lines are left out, but for failures. */
class QuietRequests extends LogController {
  constructor() {
    super({ disableRequestLogging: true })
  }

  override writeHeadError(error: Error, _request: FastifyRequest, reply: FastifyReply): void {
    reply.log.warn({ err: error }, 'answer could not be written')
  }

  override streamError(error: Error, _request: FastifyRequest, reply: FastifyReply): void {
    if (codeOf(error) === 'ERR_STREAM_PREMATURE_CLOSE') reply.log.info('stream closed prematurely')
    else reply.log.warn({ err: error }, 'stream failed after its head')
  }

  override serializerError(error: Error, _request: FastifyRequest, reply: FastifyReply): void {
    reply.log.error({ err: error }, 'answer could not be serialized')
  }
}

export const quietRequests: LogController = new QuietRequests()

const IDLE_MARGIN_MS = 60_000
const HEADERS_TIMEOUT_MS = 15_000

const EARLY = 'Wait for the answer to your request, or connect anew, before you ask for a WebSocket.'
const HALF = 'The body is not as long as the request says.'
const LATE = 'The handshake was not answered in time. Connect again in a moment.'

/** Fastify with every limit of HTTP itself: what a connection may cost before a room of ours sees its request. */
export function openServer(
  settings: Settings,
  logger: FastifyBaseLogger,
  catalog: () => Catalog,
): FastifyInstance {
  const isTrusted = buildAddressCheck(settings.trustedProxies)
  const isOperators = (path: string) => catalog().services.covers(path)
  const app = Fastify({
    loggerInstance: logger,
    logController: quietRequests,
    genReqId: makeRequestId(),
    rewriteUrl: readAddresses(isOperators, isTrusted),
    trustProxy: settings.trustedProxies.length > 0 ? (address = '') => isTrusted(address) : false,
    exposeHeadRoutes: false,
    schemaController,
    routerOptions: { maxParamLength: 512 },
    // No request meets a closing connection, if this is longer than what stands in front keeps an idle one.
    keepAliveTimeout: settings.keepAliveMs,
    requestTimeout: settings.totalTimeoutMs,
    // A socket on which nothing moves in either direction for longer than any request may last.
    connectionTimeout: settings.totalTimeoutMs + IDLE_MARGIN_MS,
    http: {
      ServerResponse: createHearingResponse(),
      shouldUpgradeCallback: shouldUpgrade,
      headersTimeout: HEADERS_TIMEOUT_MS,
      // Every 30 s, as usual, the timeout above would be twice as long.
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: 16 * 1024,
      // The guard refuses those without one, in words that clients parse.
      requireHostHeader: false,
    },
    clientErrorHandler,
    frameworkErrors,
  })
  // Fastify's own would read a megabyte for whoever asks for a path that is not there. Doors that take a body bring theirs.
  app.removeAllContentTypeParsers()
  watchClients(app.server, (socket) => clientErrorHandler(invalidRequest(HALF), socket))
  app.server.prependListener('request', gatherChunks)
  app.server.on('connect', refuseTunnel)
  ownUpgrades(app, {
    timeoutMs: HEADERS_TIMEOUT_MS,
    routeTimeoutMs: settings.totalTimeoutMs,
    answerLate: (socket) => clientErrorHandler(upstreamTimeout(LATE), socket),
    answerEarly: (socket) => clientErrorHandler(invalidRequest(EARLY), socket),
  })
  // Whoever is refused need not send a body first.
  app.server.on('checkContinue', (request, response) => {
    askWhenRead(request, response)
    app.server.emit('request', request, response)
  })
  // An expectation nobody knows is no reason to refuse: Node's own 417 has no body that clients parse.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  return app
}
