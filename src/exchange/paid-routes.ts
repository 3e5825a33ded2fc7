import type { FastifyInstance } from 'fastify'
import type { Endpoint } from '../dialects/endpoints.ts'
import { collectBody } from '../request/body.ts'
import { findTypeMistake } from '../request/one-reading.ts'
import { jsonLimits, MAX_UPLOAD_BYTES } from './read-ask.ts'
import { serve } from './serve.ts'
import type { Shared } from './shared.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    paid?: Endpoint
  }
}

export interface PaidRoutesOptions {
  endpoints: readonly Endpoint[]
  shared: Shared
}

/** The endpoints that cost: what a body may be, and then `serve.ts`. */
export async function paidRoutes(
  app: FastifyInstance,
  { endpoints, shared }: PaidRoutesOptions,
): Promise<void> {
  app.removeAllContentTypeParsers()
  app.decorateRequest('bodyLease')
  const limits = jsonLimits(shared)
  app.addContentTypeParser('application/json', (request, payload, done) => {
    const mistake = findTypeMistake(request.headers['content-type'])
    if (mistake) done(mistake)
    else collectBody(request, payload, limits, done)
  })
  app.addContentTypeParser('multipart/form-data', (_request, payload, done) => done(null, payload))
  for (const endpoint of endpoints) {
    const config = { paid: endpoint }
    app.post(endpoint.path, { bodyLimit: MAX_UPLOAD_BYTES, config }, (request, reply) =>
      serve({ request, reply, endpoint }, shared),
    )
  }
}
