import type { FastifyRequest } from 'fastify'
import { findDeployment } from '../dialects/addresses.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { bodyTooSlow, unsupportedMedia } from '../errors.ts'
import { type Ask, leastFacts } from '../request/ask.ts'
import type { JsonLimits } from '../request/body.ts'
import { checkQuery } from '../request/guarded-fields.ts'
import { isChunks, type LongReading, readJsonAsk, wholeOf } from '../request/json-ask.ts'
import { readMultipartAsk } from '../request/multipart-ask.ts'
import type { UploadLimits } from '../request/multipart-upload.ts'
import { planSteps, pricesOf } from '../routing/plan.ts'
import type { Shared } from './paid-call.ts'

/** The longest upload. */
export const MAX_UPLOAD_BYTES = 300 * 1024 * 1024
/** Two forms of one content may differ by so much: clients choose a boundary anew. */
const FRAMING_BYTES = 16 * 1024

/** What is asked, of a body that is here or of an upload that still comes. */
export function readAsk(request: FastifyRequest, asked: Endpoint, shared: Shared): Ask | Promise<Ask> {
  const { body } = request
  const endpoint = asked.usualModel === undefined ? asked : withServedModel(asked, shared)
  if (request.url.includes('?')) checkQuery(request.url)
  if (isChunks(body)) {
    if (endpoint.takes !== 'multipart')
      return readJsonAsk(endpoint, wholeOf(body), longReading(request, endpoint, shared))
    throw unsupportedMedia('Send this as multipart/form-data')
  }
  if (body === undefined || endpoint.takes === 'json') throw unsupportedMedia('Send this as application/json')
  return readMultipartAsk(endpoint, request.raw, uploadLimits(request, endpoint, shared))
}

/** Where the usual model is not served here, a request has to name one. */
function withServedModel({ usualModel = '', ...endpoint }: Endpoint, { catalog }: Shared): Endpoint {
  return catalog().find(usualModel) ? { ...endpoint, usualModel } : endpoint
}

/** Of JSON bodies, which are here before anything is asked of them. */
export function jsonLimits(shared: Shared): JsonLimits {
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

function uploadLimits(request: FastifyRequest, endpoint: Endpoint, shared: Shared): UploadLimits {
  const lease = shared.memory.open(request.token.id)
  request.bodyLease = lease
  return {
    maxBytes: MAX_UPLOAD_BYTES,
    timeoutMs: shared.bodyTimeoutMs,
    deadlines: shared.deadlines,
    lease,
    pathModel: pathModelOf(request),
    openSpool: () => shared.spool.open(request.token.id),
    refuseUncovered: (bytes) => refuseUnpaid(request, endpoint, { shared, bytes, isForm: true }),
  }
}

/** Only a path that was led to an endpoint may name a model. */
export function pathModelOf({ url, originalUrl }: FastifyRequest): string | undefined {
  return url === originalUrl ? undefined : findDeployment(originalUrl)
}

function longReading(request: FastifyRequest, endpoint: Endpoint, { turns, catalog }: Shared): LongReading {
  const { token, raw } = request
  return {
    pathModel: pathModelOf(request),
    inTurns: (step) =>
      turns.run(token.id, () => {
        // A client that is gone takes no more turns.
        if (raw.socket.destroyed) throw bodyTooSlow('The connection closed while the body was read')
        return step()
      }),
    refuse(model) {
      planSteps({ catalog: catalog(), model, besides: [], allowed: token.models, dialect: endpoint.dialect })
    },
  }
}

/**
 * Refuses a body by its length alone, before it is read. An answer that is kept under a key costs nothing; a new key
 * says nothing, nor does one whose own body was shorter.
 */
export async function refuseUnpaid(
  request: FastifyRequest,
  endpoint: Endpoint,
  { shared, bytes, isForm }: { shared: Shared; bytes: number; isForm: boolean },
): Promise<void> {
  const { token } = request
  const prices = pricesOf({ catalog: shared.catalog(), allowed: token.models, dialect: endpoint.dialect })
  try {
    await shared.refuseUncovered(shared.tokens, token, prices, leastFacts(endpoint.dialect, bytes, isForm))
  } catch (error) {
    const bodyBytes = isForm ? Math.max(0, bytes - FRAMING_BYTES) : bytes
    if (!(await isKeyKnown(request, bodyBytes, shared))) throw error
  }
}

async function isKeyKnown(
  { headers, token }: FastifyRequest,
  bodyBytes: number,
  { idempotency, wallMs }: Shared,
): Promise<boolean> {
  const key = headers['idempotency-key']
  if (typeof key !== 'string') return false
  // A store that cannot be asked refuses the claim itself, in words of its own.
  return idempotency.isKnown({ tokenId: token.id, key, at: wallMs(), bodyBytes }).catch(() => true)
}
