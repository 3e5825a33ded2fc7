import type { FastifyInstance } from 'fastify'
import type { Endpoint } from '../dialects/endpoints.ts'
import { collectBody, findTypeMistake, type JsonLimits } from '../request/body.ts'
import { collectCodedBody, refuseCoding } from '../request/coded-body.ts'
import type { Shared } from './paid-call.ts'
import { MAX_UPLOAD_BYTES, refuseUnpaid } from './read-ask.ts'
import { serve } from './serve.ts'

export interface PaidOptions {
  endpoints: readonly Endpoint[]
  shared: Shared
}

/** The endpoints that cost: body in, plan, hold, and then the exchange with the providers. */
export async function paidRoutes(app: FastifyInstance, { endpoints, shared }: PaidOptions): Promise<void> {
  app.removeAllContentTypeParsers()
  app.decorateRequest('bodyLease')
  const limits = jsonLimits(shared)
  app.addContentTypeParser('application/json', (request, payload, done) => {
    const mistake = findTypeMistake(request.headers['content-type'])
    if (mistake) done(mistake)
    else if (request.headers['content-encoding'] === undefined) collectBody(request, payload, limits, done)
    else collectCodedBody(request, payload, limits, done)
  })
  app.addContentTypeParser('multipart/form-data', (request, payload, done) =>
    done(refuseCoding(request.headers['content-encoding']) ?? null, payload),
  )
  for (const endpoint of endpoints) {
    const config = { paid: endpoint, isUncounted: endpoint.dialect.isFree }
    app.post(endpoint.path, { bodyLimit: MAX_UPLOAD_BYTES, config }, (request, reply) =>
      serve(request, reply, endpoint, shared),
    )
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    paid?: Endpoint
  }
}

function jsonLimits(shared: Shared): JsonLimits {
  return {
    maxBytes: shared.maxJsonBytes,
    timeoutMs: shared.bodyTimeoutMs,
    deadlines: shared.deadlines,
    memory: shared.memory,
    async refuseUncovered(request, bytes) {
      const { paid } = request.routeOptions.config
      if (paid) await refuseUnpaid(request, paid, { shared, bytes, isForm: false })
    },
  }
}
