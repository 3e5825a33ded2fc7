import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** One request as the provider saw it. */
export interface SeenRequest {
  method: string
  url: string
  headers: IncomingHttpHeaders
  rawHeaders: readonly string[]
  /** All of it once `complete`; empty when the provider was started with `keepBodies: false`. */
  body: Buffer
  bodyBytes: number
  complete: boolean
  /** The caller left before the answer ended (never set by the provider's own resets). */
  aborted: boolean
  /** Milliseconds since 1970. */
  at: number
  /** The body parsed; tests look into it where they like. */
  json(): ReturnType<typeof JSON.parse>
}

/** What a behaviour has in hand. */
export interface Call {
  seen: SeenRequest
  req: IncomingMessage
  res: ServerResponse
  socket: Socket
  /** Cuts the connection by TCP reset (a plain close under TLS); not counted as the caller's abort. */
  reset(): void
  /** The provider is going to close the connection itself: not the caller's abort. */
  leaving(): void
}

/** What the provider does with a request. */
export interface Behaviour {
  /** Acts as soon as the headers are there, without waiting for the body. */
  early?: boolean
  act(call: Call): void | Promise<void>
}

/** A behaviour, or a choice of one by request. */
export type Answer = Behaviour | ((seen: SeenRequest) => Behaviour)

export interface Head {
  status?: number
  headers?: OutgoingHttpHeaders
}

export const OPENAI_HEADERS = {
  'openai-organization': 'org-test',
  'openai-processing-ms': '312',
  'openai-version': '2020-10-01',
  'x-ratelimit-limit-requests': '10000',
  'x-ratelimit-remaining-requests': '9999',
  'x-request-id': 'req_of_the_provider',
  'set-cookie': '__cf_bm=of-the-provider; path=/; HttpOnly',
}

/** Exactly this status, these headers and these bytes. */
export function raw(status: number, headers: OutgoingHttpHeaders, body: Buffer | string = ''): Behaviour {
  return {
    act({ res }) {
      res.writeHead(status, headers)
      res.end(body)
    },
  }
}

/** A JSON answer; a string is sent as it stands, so that odd spellings survive. */
export function json(body: unknown, { status = 200, headers = {} }: Head = {}): Behaviour {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const length = { 'content-length': bytes.length }
  return raw(status, { 'content-type': 'application/json', ...OPENAI_HEADERS, ...length, ...headers }, bytes)
}

/** A refusal in OpenAI's shape. */
export function status(code: number, headers: OutgoingHttpHeaders = {}): Behaviour {
  return json(
    { error: { message: `provider says ${code}`, type: 'provider_error', param: null, code: `p_${code}` } },
    { status: code, headers },
  )
}
