import fp from 'fastify-plugin'
import { gatewayRestarting } from '../errors.ts'

/** The way down: no new work, and a moment when the old work is done. */
export interface Drain {
  /** True from `announce` on: whoever chooses between gateways is told to choose another one. */
  readonly isLeaving: boolean
  readonly isDraining: boolean
  announce(): void
  begin(): void
  /** Resolves when no request is in flight. */
  idle(): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    drain: Drain
  }
}

function openDrain() {
  let isLeaving = false
  let isDraining = false
  let inFlight = 0
  let waiting: (() => void)[] = []
  return {
    get isLeaving() {
      return isLeaving
    },
    get isDraining() {
      return isDraining
    },
    announce() {
      isLeaving = true
    },
    begin() {
      isLeaving = true
      isDraining = true
    },
    idle: () => new Promise<void>((resolve) => (inFlight === 0 ? resolve() : waiting.push(resolve))),
    enter() {
      inFlight++
    },
    leave() {
      inFlight--
      if (inFlight > 0) return
      for (const resolve of waiting) resolve()
      waiting = []
    },
  }
}

/** Registered first: whoever comes while the gateway goes down is sent to another one. */
export const drain = fp(
  async (app) => {
    const state = openDrain()
    app.decorate('drain', state)
    app.addHook('onRequest', (request, reply, done) => {
      state.enter()
      reply.raw.once('close', state.leave)
      if (!state.isDraining || request.routeOptions.url === '/health') return done()
      reply.header('connection', 'close')
      done(gatewayRestarting('The gateway is restarting. Try again in a moment.'))
    })
  },
  { name: 'drain' },
)
