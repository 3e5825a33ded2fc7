import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { rateLimited } from '../errors.ts'
import type { Places } from '../stores/contracts/places.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered from memory: not counted among the requests that run. */
    isQuick?: boolean
  }
}

export interface InFlightOptions {
  tokens: Places
}

/** No more requests of a token at once than it may have. From its credential to the end of its answer, whichever end. */
export const inFlightLimit = fp<InFlightOptions>(
  async (app, { tokens }) => {
    app.addHook('onRequest', (request, reply, done) => {
      const { requestsInFlight: most, id } = request.token
      if (most === undefined || request.routeOptions.config.isQuick) return done()
      const take = async (): Promise<void> => {
        const place = await tokens.enter(id, most)
        if (place === undefined)
          throw rateLimited(
            `This token may have ${most} requests running at once. Wait until one of them ends.`,
          )
        leaveAtEnd(request, reply, () => tokens.leave(place))
      }
      take().then(() => done(), done)
    })
  },
  { name: 'in-flight-limit', dependencies: ['client-auth'] },
)

/** An answer ends with its response; an upgraded connection has none that closes, and ends with its socket. */
function leaveAtEnd({ raw, ws }: FastifyRequest, reply: FastifyReply, leave: () => void): void {
  const { socket } = raw
  const end = (): void => {
    reply.raw.off('close', end).off('finish', end)
    socket.off('close', end)
    leave()
  }
  if (reply.raw.destroyed || socket.destroyed) return leave()
  // The header alone says nothing: HTTP with an `Upgrade` that nobody grants stays HTTP.
  if (!ws) reply.raw.once('close', end)
  // A handshake that is refused.
  else reply.raw.once('finish', end)
  socket.once('close', end)
}
