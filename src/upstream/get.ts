import type { Upstreams } from './upstreams.ts'

export interface GetRules {
  /** For all of it. */
  timeoutMs: number
  /** A longer body is a failure. */
  maxBytes: number
  /** Names and values in turn. */
  headers?: readonly string[]
}

export interface Got {
  status: number
  /** Names in lower case; repeated fields joined by a comma. */
  headers: Readonly<Record<string, string>>
  body: Buffer
}

/** One GET of a small document of this very URL: no redirect is followed. Rejects with what kept it from coming whole. */
export function get(_upstreams: Upstreams, _url: URL, _rules: GetRules): Promise<Got> {
  return Promise.reject(new Error('not yet'))
}
