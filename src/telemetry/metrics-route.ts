import type { FastifyInstance } from 'fastify'
import type { Token } from '../stores/contracts/tokens.ts'
import type { Gauges, Metrics } from './metrics.ts'

export interface MetricsRouteOptions {
  metrics: Metrics
  gauges: Gauges
}

/** `GET /metrics`, for the key of `METRICS_KEY` and tokens of the type `admin`; to others it is no path. After `client-auth`. */
export async function metricsRoute(
  app: FastifyInstance,
  { metrics, gauges }: MetricsRouteOptions,
): Promise<void> {
  app.get('/metrics', { config: { isQuick: true } }, async (request, reply) => {
    const token: Token | undefined = request.token
    if (token && token.type !== 'admin') return reply.callNotFound()
    const { contentType, text } = await metrics.write(gauges)
    reply.header('content-type', contentType).header('cache-control', 'no-store')
    return text
  })
}
