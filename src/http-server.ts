import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { Settings } from './config/env.ts'
import { clientErrorHandler, frameworkErrors, refuseTunnel } from './entrance/error-reply.ts'
import { gatherChunks } from './entrance/fine-chunks.ts'
import { makeRequestId } from './entrance/request-id.ts'
import { schemaController } from './route-schemas.ts'
import { quietRequests } from './telemetry/quiet-requests.ts'
import { shouldUpgrade } from './websocket/upgrade.ts'

const IDLE_MARGIN_MS = 60_000

/** Fastify with every limit of HTTP itself: what a connection may cost before a room of ours sees its request. */
export const openServer = (settings: Settings, logger: FastifyBaseLogger): FastifyInstance => {
  const app = Fastify({
    loggerInstance: logger,
    logController: quietRequests,
    genReqId: makeRequestId(),
    trustProxy: settings.trustedProxies.length > 0 ? settings.trustedProxies : false,
    exposeHeadRoutes: false,
    schemaController,
    routerOptions: { maxParamLength: 512 },
    // Longer than the edge keeps an idle connection, so that no request meets a closing one.
    keepAliveTimeout: 95_000,
    requestTimeout: settings.totalTimeoutMs,
    // A socket on which nothing moves in either direction for longer than any request may last.
    connectionTimeout: settings.totalTimeoutMs + IDLE_MARGIN_MS,
    http: {
      shouldUpgradeCallback: shouldUpgrade,
      headersTimeout: 15_000,
      // Every 30 s, as usual, the timeout above would be twice as long.
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: 16 * 1024,
      // The guard refuses those without one, in words that clients parse.
      requireHostHeader: false,
    },
    clientErrorHandler,
    frameworkErrors,
  })
  app.server.prependListener('request', gatherChunks)
  app.server.on('connect', refuseTunnel)
  // An expectation nobody knows is no reason to refuse: Node's own 417 has no body that clients parse.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  return app
}
