/** `BAD_ANSWER`: not HTTP/1.1 as RFC 9112 has it; `CLOSED_EARLY`: the provider hung up before its answer was whole. */
export type UpstreamErrorCode =
  | 'CONNECT_TIMEOUT'
  | 'FIRST_BYTE_TIMEOUT'
  | 'IDLE_TIMEOUT'
  | 'BAD_ANSWER'
  | 'CLOSED_EARLY'
  | 'BODY_MISMATCH'

/** What went wrong between the gateway and a provider; the code is for failover and for the log. */
export class UpstreamError extends Error {
  readonly code: UpstreamErrorCode

  constructor(code: UpstreamErrorCode, text: string) {
    super(text)
    this.name = 'UpstreamError'
    this.code = code
  }
}
