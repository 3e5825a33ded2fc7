import type { IncomingMessage } from 'node:http'
import { type GatewayError, requestTooLarge } from '../errors.ts'
import type { RequestBody } from '../upstream/request-body.ts'

const NOTHING: Buffer = Buffer.alloc(0)

export interface UploadRules {
  /** Undefined: however long. */
  mostBytes: number | undefined
  arrived(bytes: number): void
  /** It is longer than it may be; nothing more of it arrives. */
  refused(error: GatewayError): void
}

/** How long it says it is; undefined: it comes in chunks. */
function lengthOf({ headers }: IncomingMessage): number | undefined {
  return headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : undefined
}

export function hasBody(raw: IncomingMessage): boolean {
  return lengthOf(raw) !== 0
}

/** What is sent of a request's body; undefined: it has none, and says nothing of one. */
export function bodyOf(raw: IncomingMessage): RequestBody | undefined {
  const length = lengthOf(raw)
  if (length !== 0) return { body: raw, length }
  return raw.headers['content-length'] === undefined ? undefined : { body: NOTHING, length: 0 }
}

export function tooLarge(mostBytes: number): GatewayError {
  return requestTooLarge(`The body is too large: at most ${mostBytes} bytes may be sent here.`)
}

/** Whether a body says at once that it is too long. */
export function isTooLong(raw: IncomingMessage, mostBytes: number | undefined): boolean {
  return mostBytes !== undefined && (lengthOf(raw) ?? 0) > mostBytes
}

/** Counts a body as it passes to whoever reads it; until somebody does, it stays where it is. */
export function countBody(raw: IncomingMessage, { mostBytes, arrived, refused }: UploadRules): void {
  let bytes = 0
  let isRefused = false
  // A listener would make it flow before the service takes it.
  raw.pause()
  raw.on('data', (chunk: Buffer) => {
    if (isRefused) return
    bytes += chunk.length
    arrived(bytes)
    if (mostBytes === undefined || bytes <= mostBytes) return
    isRefused = true
    refused(tooLarge(mostBytes))
  })
}
