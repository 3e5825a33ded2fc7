import type { FastifyRequest } from 'fastify'
import { bodyTooSlow, unsupportedMedia } from '../errors.ts'
import { type Ask, leastFacts } from '../request/ask.ts'
import { isChunks, type JsonLimits } from '../request/body.ts'
import { type LongReading, readJsonAsk, wholeOf } from '../request/json-ask.ts'
import { readMultipartAsk } from '../request/multipart-ask.ts'
import type { UploadLimits } from '../request/multipart-upload.ts'
import { checkQuery } from '../request/one-reading.ts'
import { planSteps, pricesOf } from '../routing/plan.ts'
import type { PaidCall } from './serve.ts'
import type { Shared } from './shared.ts'

const MAX_JSON_BYTES = 10 * 1024 * 1024
export const MAX_UPLOAD_BYTES = 300 * 1024 * 1024
/** Two forms of one content may differ by so much: clients choose a boundary anew. */
const FRAMING_BYTES = 16 * 1024

/** A promise only where it has to wait: for an upload, or for a body that is read in turns. */
export function readAsk(call: PaidCall, shared: Shared): Ask | Promise<Ask> {
  const { request, endpoint } = call
  const { body } = request
  checkQuery(request.url)
  if (isChunks(body)) {
    if (endpoint.takes !== 'multipart') return readJsonAsk(endpoint, wholeOf(body), longReading(call, shared))
    throw unsupportedMedia('Send this as multipart/form-data')
  }
  if (body === undefined || endpoint.takes === 'json') throw unsupportedMedia('Send this as application/json')
  return readMultipartAsk(endpoint, request.raw, uploadLimits(call, shared))
}

/** What bounds a JSON body while it arrives. */
export function jsonLimits(shared: Shared): JsonLimits {
  return {
    maxBytes: MAX_JSON_BYTES,
    timeoutMs: shared.bodyTimeoutMs,
    deadlines: shared.deadlines,
    memory: shared.memory,
    async refuseUncovered(request, bytes) {
      const { paid } = request.routeOptions.config
      if (paid) await refuseUnpaid({ request, endpoint: paid }, shared, { bytes, isForm: false })
    },
  }
}

function uploadLimits(call: PaidCall, shared: Shared): UploadLimits {
  const { request } = call
  const lease = shared.memory.open(request.token.id)
  request.bodyLease = lease
  return {
    maxBytes: MAX_UPLOAD_BYTES,
    timeoutMs: shared.bodyTimeoutMs,
    deadlines: shared.deadlines,
    lease,
    openSpool: () => shared.spool.open(request.token.id),
    refuseUncovered: (bytes) => refuseUnpaid(call, shared, { bytes, isForm: true }),
  }
}

function longReading(
  { request: { token, raw }, endpoint }: PaidCall,
  { turns, catalog }: Shared,
): LongReading {
  return {
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
async function refuseUnpaid(
  { request, endpoint }: Pick<PaidCall, 'request' | 'endpoint'>,
  shared: Shared,
  { bytes, isForm }: { bytes: number; isForm: boolean },
): Promise<void> {
  const { token } = request
  const { dialect } = endpoint
  const prices = pricesOf({ catalog: shared.catalog(), allowed: token.models, dialect })
  try {
    await shared.refuseUncovered(shared.tokens, token, prices, leastFacts(dialect, bytes, isForm))
  } catch (error) {
    const bodyBytes = isForm ? Math.max(0, bytes - FRAMING_BYTES) : bytes
    if (!(await isKeyKnown(request, bodyBytes, shared))) throw error
  }
}

async function isKeyKnown(
  { headers, token }: FastifyRequest,
  bodyBytes: number,
  { keys, wallMs }: Shared,
): Promise<boolean> {
  const key = headers['idempotency-key']
  if (typeof key !== 'string') return false
  // A store that cannot be asked refuses the claim itself, in words of its own.
  return keys.isKnown({ tokenId: token.id, key, at: wallMs(), bodyBytes }).catch(() => true)
}
