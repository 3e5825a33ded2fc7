import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'

/** What may take how long, for everything that leaves this gateway. */
export interface UpstreamTimeouts {
  connectTimeoutMs: number
  /** Until a whole answer's end: nothing is heard of a model that thinks. */
  answerTimeoutMs: number
  /** Until a stream's first byte; `idleTimeoutMs` is the longest silence after it. */
  firstByteTimeoutMs: number
  idleTimeoutMs: number
  totalTimeoutMs: number
}

/** The head of an answer may be so long. */
export const MAX_HEAD_BYTES = 16 * 1024
/** An idle connection is dropped before most servers drop it, so that no request meets a closing one. */
export const KEEP_ALIVE_MS = 4_000

/** What holds for each TLS connection that leaves this gateway, whichever client opens it. */
export const TLS_RULES = {
  // Node's default, stated because it decides who gets the keys; no environment variable can undo it.
  rejectUnauthorized: true,
} as const

/** For a connection of our own to `host`; a client of Node's adds the name and the protocol by itself. */
export function tlsOptions(host: string): ConnectionOptions {
  return { ...TLS_RULES, ...(isIP(host) ? {} : { servername: host }), ALPNProtocols: ['http/1.1'] }
}

/** Names and values in turn, as the object that Node's clients want. */
export function headerRecord(flat: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let index = 0; index < flat.length; index += 2) headers[flat[index] ?? ''] = flat[index + 1] ?? ''
  return headers
}

/**
 * `BAD_ANSWER`: not HTTP/1.1 as RFC 9112 has it; `CLOSED_EARLY`: the provider hung up before its answer was whole;
 * `PROXY_407`: what the proxy said in place of the provider.
 */
export type UpstreamErrorCode =
  | 'CONNECT_TIMEOUT'
  | 'ANSWER_TIMEOUT'
  | 'FIRST_BYTE_TIMEOUT'
  | 'IDLE_TIMEOUT'
  | 'BAD_ANSWER'
  | 'CLOSED_EARLY'
  | 'BODY_MISMATCH'
  | 'PROXY_UNREACHABLE'
  | `PROXY_${number}`

/** What went wrong between the gateway and a provider or service; the code is for failover and for the log. */
export class UpstreamError extends Error {
  readonly code: UpstreamErrorCode

  constructor(code: UpstreamErrorCode, text: string, options?: ErrorOptions) {
    super(text, options)
    this.name = 'UpstreamError'
    this.code = code
  }
}
