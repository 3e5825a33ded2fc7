import type { FastifyPluginAsync } from 'fastify'

export interface HealthOptions {
  /** Whether new work can be done: the stores answer and the gateway is not going down. */
  isReady(): boolean
  /** How Redis is off for memory, where there is one: it serves on while it is full, but for new idempotency keys. */
  redisMemory?: (() => { state: 'ok' | 'high' | 'full' }) | undefined
}

function memoryOf(memory: { state: string } | undefined): { redisMemory?: string } {
  return memory ? { redisMemory: memory.state } : {}
}

/** Monitors and balancers ask for the head alone. */
const HEAD_TOO = { exposeHeadRoute: true }

/** Claude Code and others look whether anybody is there before they send a credential. */
const GREETINGS = ['/', '/api/hello']

/** `/health`: the process lives. `/ready`: send it requests. `HEAD /`: somebody is there. */
export const health: FastifyPluginAsync<HealthOptions> = async (app, options) => {
  const { isReady, redisMemory } = options
  // Where an operator has handed the path on, the router leads there.
  for (const path of GREETINGS) app.head(path, (_request, reply) => reply.send())
  app.get('/health', HEAD_TOO, (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  )
  app.get('/ready', HEAD_TOO, (_request, reply) => {
    const ready = isReady()
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .send({ status: ready ? 'ready' : 'not ready', ...memoryOf(redisMemory?.()) })
  })
}
