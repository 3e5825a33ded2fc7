import { UpstreamError } from './rules.ts'
import type { Attempt, Upstreams } from './upstreams.ts'

export interface GetRules {
  /** For all of it. */
  timeoutMs: number
  /** A longer body is a failure. */
  maxBytes: number
}

export interface Got {
  status: number
  body: Buffer
}

/** One GET of a small document at this very URL: no redirect is followed. Rejects with what kept it from coming whole. */
export function get(upstreams: Upstreams, url: URL, rules: GetRules): Promise<Got> {
  const { promise, resolve, reject } = Promise.withResolvers<Got>()
  const { timeoutMs, maxBytes } = rules
  const pieces: Buffer[] = []
  let bytes = 0
  let status = 0
  let attempt: Attempt | undefined
  const giveUp = (error: UpstreamError): void => {
    attempt?.abort()
    reject(error)
  }
  const timer = setTimeout(
    () => giveUp(new UpstreamError('ANSWER_TIMEOUT', 'The document did not come in time')),
    timeoutMs,
  )
  const request = {
    method: 'GET',
    path: url.pathname + url.search,
    headers: [],
    body: undefined,
    connectTimeoutMs: timeoutMs,
    firstByteMs: timeoutMs,
    idleMs: timeoutMs,
  }
  attempt = upstreams.send(url.origin, request, {
    answered(said) {
      status = said
    },
    data(piece) {
      bytes += piece.length
      pieces.push(piece)
      if (bytes > maxBytes) giveUp(new UpstreamError('BAD_ANSWER', 'The document is too long'))
    },
    ended() {
      resolve({ status, body: Buffer.concat(pieces) })
    },
    failed: reject,
  })
  return promise.finally(() => clearTimeout(timer))
}
