import type { IncomingHttpHeaders } from 'node:http'

const MOST_BYTES = 512
const BEARER = /^bearer +(.*)$/i
const PRINTABLE = /^[\x21-\x7e]+$/

const readBearer = (header: string | undefined): string | undefined =>
  header === undefined ? undefined : BEARER.exec(header)?.[1]

const firstOf = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined

const KEY_ENTRY = /^openai-insecure-api-key\.(.+)$/

/** Browsers can put no header on a WebSocket: their secret comes as one of the subprotocols they offer. */
const readSubprotocol = (headers: IncomingHttpHeaders): string | undefined => {
  const offered = headers['sec-websocket-protocol']
  if (offered === undefined || headers.upgrade?.toLowerCase() !== 'websocket') return undefined
  for (const entry of offered.split(',')) {
    const secret = KEY_ENTRY.exec(entry.trim())?.[1]
    if (secret !== undefined) return secret
  }
  return undefined
}

/** The secret a client sends: `Authorization: Bearer`, else `x-api-key`, else `api-key`; a browser's WebSocket: a subprotocol. */
export const readCredential = (headers: IncomingHttpHeaders): string | undefined => {
  const sent =
    readBearer(headers.authorization) ??
    firstOf(headers['x-api-key']) ??
    firstOf(headers['api-key']) ??
    readSubprotocol(headers)
  const secret = sent?.trim()
  return secret && secret.length <= MOST_BYTES && PRINTABLE.test(secret) ? secret : undefined
}
