import type { IncomingMessage } from 'node:http'
import type { Transform } from 'node:stream'
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib'
import type { FastifyRequest } from 'fastify'
import { bodyTooSlow, GatewayError, invalidRequest, requestTooLarge, unsupportedMedia } from '../errors.ts'
import { BodyCollector, type Done, type JsonLimits, tooLarge } from './body.ts'
import { collectBody } from './json-ask.ts'

/** What people write is packed ten times, a log of equal lines a hundred times; beyond that it was made to fill memory. */
const MOST_RATIO = 200
/** Up to here nobody asks how well it was packed. */
const FREE_BYTES = 1024 * 1024
const PIECE_BYTES = 64 * 1024
/** RFC 9659: no decoder has to remember more than 8 MiB of what it unpacked. */
const ZSTD_WINDOW_LOG = 23

/** The codings that are taken (RFC 9110 section 8.4.1, RFC 7932, RFC 8878). */
const DECODERS: Readonly<Record<string, () => Transform & { bytesWritten: number }>> = {
  gzip: () => createGunzip({ chunkSize: PIECE_BYTES }),
  'x-gzip': () => createGunzip({ chunkSize: PIECE_BYTES }),
  deflate: () => createInflate({ chunkSize: PIECE_BYTES }),
  br: () => createBrotliDecompress({ chunkSize: PIECE_BYTES }),
  zstd: () =>
    createZstdDecompress({
      chunkSize: PIECE_BYTES,
      params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG },
    }),
}

/** Why a form, whose bytes are read on their way to a provider, is refused with a `Content-Encoding`. */
export function refuseCoding(coding: string | undefined): GatewayError | undefined {
  if (coding === undefined || coding.toLowerCase() === 'identity') return undefined
  return unsupportedMedia('Send the form without "Content-Encoding"; JSON alone may be compressed')
}

/**
 * Gathers a body that came with a `Content-Encoding`, decoded: all bounds of `collectBody` hold for what comes out of the
 * decoder, and a bomb ends as soon as it is known to be one. What comes in is never more than the decoder's next piece.
 */
export function collectCodedBody(
  request: FastifyRequest,
  stream: IncomingMessage,
  limits: JsonLimits,
  done: Done,
): void {
  const coding = String(request.headers['content-encoding']).toLowerCase()
  if (coding === 'identity') return collectBody(request, stream, limits, done)
  const openDecoder = Object.hasOwn(DECODERS, coding) ? DECODERS[coding] : undefined
  if (!openDecoder) return done(notTaken())
  if (Number(request.headers['content-length'] ?? 0) > limits.maxBytes) return done(tooLarge(limits.maxBytes))
  const decoder = openDecoder()
  boundRatio(decoder)
  const lease = limits.memory.open(request.token.id)
  request.bodyLease = lease
  const end = feed(stream, decoder)
  const unreadable = (cause?: Error) => invalidRequest(`The body is not valid ${coding}`, { cause })
  const finish: Done = (error, body) => {
    end()
    done(error, body)
  }
  // How long it is decoded stands in no header.
  new BodyCollector(request, decoder, { ...limits, lease, announced: 0, done: finish, unreadable }).start(
    null,
  )
}

/** Leads the client's bytes, and whatever ends them, into the decoder; to be ended when nobody reads it any more. */
function feed(stream: IncomingMessage, decoder: Transform): () => void {
  const fail = (error: Error): void => {
    decoder.destroy(error instanceof GatewayError ? error : brokenOff())
  }
  const closed = (): void => {
    if (!stream.complete) decoder.destroy(brokenOff())
  }
  // It may fail once more when its reader has left.
  decoder.on('error', () => {})
  stream.once('error', fail).once('close', closed).pipe(decoder)
  return () => {
    stream.unpipe(decoder).off('error', fail).off('close', closed).resume()
    decoder.destroy()
  }
}

/** It stands before the stream's own `push`: a listener would set the stream going before its reader is there. */
function boundRatio(decoder: Transform & { bytesWritten: number }): void {
  const push = decoder.push.bind(decoder)
  let bytes = 0
  decoder.push = (chunk: Buffer | null) => {
    bytes += chunk?.length ?? 0
    if (bytes <= FREE_BYTES || bytes <= decoder.bytesWritten * MOST_RATIO) return push(chunk)
    decoder.destroy(tooDense())
    return false
  }
}

function brokenOff() {
  return bodyTooSlow('The connection closed before the body was complete')
}

function tooDense() {
  return requestTooLarge(
    `The body is compressed more than ${MOST_RATIO} times; send it with less in it, or uncompressed`,
  )
}

function notTaken() {
  return unsupportedMedia(
    'Send the body in one of gzip, deflate, br and zstd (one coding, not several), or without "Content-Encoding"',
  )
}
