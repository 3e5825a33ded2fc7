import type { FastifyInstance } from 'fastify'
import type { Gauges, Metrics } from './metrics.ts'

export interface MetricsRouteOptions {
  metrics: Metrics
  gauges: Gauges
}

/** `GET /metrics`, for tokens of the type `admin` alone; to others it is no path. After `client-auth`. */
export async function metricsRoute(
  app: FastifyInstance,
  { metrics, gauges }: MetricsRouteOptions,
): Promise<void> {
  app.get('/metrics', { config: { isQuick: true } }, async ({ token }, reply) => {
    if (token.type !== 'admin') return reply.callNotFound()
    const { contentType, text } = await metrics.write(gauges)
    reply.header('content-type', contentType).header('cache-control', 'no-store')
    return text
  })
}
