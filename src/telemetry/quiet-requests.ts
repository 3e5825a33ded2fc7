import type { FastifyReply, FastifyRequest } from 'fastify'
import { LogController } from 'fastify'

/** Fastify takes it as `logController`: the request line is ours, so its own two lines a request are left out. */
class QuietRequests extends LogController {
  override incomingRequest(): void {}
  override requestCompleted(): void {}
  override routeNotFound(): void {}
  override defaultErrorLog(): void {}
  override writeHeadError(error: Error, _request: FastifyRequest, reply: FastifyReply): void {
    reply.log.warn({ err: error }, 'answer could not be written')
  }
}

export const quietRequests: LogController = new QuietRequests()
