import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import fp from 'fastify-plugin'
import { dialectOfHeaders, dialectOfUrl } from '../dialects/headers.ts'

const SAFE_ID = /^[A-Za-z0-9._:-]{1,128}$/

/** Fastify's `genReqId`: a client's own id when it is safe to repeat, else a new one, unique across restarts. */
export function makeRequestId(): (request: Pick<IncomingMessage, 'headers'>) => string {
  const prefix = `req_${randomBytes(6).toString('hex')}`
  let count = 0
  return ({ headers }) => {
    const own = headers['x-request-id']
    if (typeof own === 'string' && SAFE_ID.test(own)) return own
    return `${prefix}${(count++).toString(36).padStart(6, '0')}`
  }
}

/** Where a client looks for the id besides, by what its headers or its URL say that it speaks. */
function otherName({ headers, url = '' }: IncomingMessage): string | undefined {
  return dialectOfHeaders(headers).requestIdHeader ?? dialectOfUrl(url).requestIdHeader
}

/** `x-request-id` on every answer that goes through `reply`. */
export const requestId = fp(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.header('x-request-id', request.id)
      const name = otherName(request.raw)
      if (name !== undefined) reply.header(name, request.id)
      done()
    })
  },
  { name: 'request-id' },
)
