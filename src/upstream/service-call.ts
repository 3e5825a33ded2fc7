import type { RequestBody } from './request-body.ts'

/** Any request of HTTP/1.1 as it leaves for a service, but for CONNECT and upgrades. */
export interface ServiceRequest {
  method: string
  /** Path and query as they are sent, each character a byte. */
  path: string
  /** Names and values in turn. `host` and the lines that say how long the body is are added, and may not be among them. */
  headers: readonly string[]
  /** Undefined: none. A stream that is no longer wanted is paused and let go of: its owner drains or destroys it. */
  body: RequestBody | undefined
  /** Asked when a body in chunks has ended: names and values in turn, what no trailer may say is left out. */
  trailers?: (() => readonly string[]) | undefined
  connectTimeoutMs?: number | undefined
  /** The longest silence before the answer's head, while it is the service's turn: it takes what is sent, or thinks. */
  firstByteMs: number
  /** The longest silence inside the answer while it is the service's turn: not while the reader is slow. */
  idleMs: number
  /** No kept connection is used: for the second try after one that its service had closed. */
  isFresh?: boolean | undefined
}

/** What of a request had happened when it failed. */
export interface Sent {
  /** A byte of the request had been handed to a connection: the service may have done what was asked. */
  wasSent: boolean
  /** The connection had carried a request before: the service may have closed it in the very moment. */
  wasKept: boolean
}

/**
 * What becomes of a request: `informed` for each interim answer but 100 and 101, `answered` at most once, then exactly one of
 * `ended` and `failed`, unless it is aborted. Headers are names and values in turn, in the case and order they came in.
 */
export interface ServiceListener {
  informed?(status: number, headers: string[]): void
  answered(status: number, headers: string[], reason: string): void
  data(bytes: Buffer): void
  /** The trailers of an answer in chunks, without those that no trailer may say. */
  ended(trailers: string[]): void
  failed(error: Error, sent: Sent): void
}
