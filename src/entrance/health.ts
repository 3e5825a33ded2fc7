import type { FastifyPluginAsync } from 'fastify'

export interface HealthOptions {
  /** Whether new work can be done: the stores answer and the gateway is not going down. */
  isReady(): boolean
}

/** `/health`: the process lives. `/ready`: send it requests. */
export const health: FastifyPluginAsync<HealthOptions> = async (app, { isReady }) => {
  app.get('/health', (_request, reply) => reply.header('cache-control', 'no-store').send({ status: 'ok' }))
  app.get('/ready', (_request, reply) => {
    const ready = isReady()
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .send({ status: ready ? 'ready' : 'not ready' })
  })
}
