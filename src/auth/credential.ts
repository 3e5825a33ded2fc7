import type { IncomingHttpHeaders } from 'node:http'
import type { Entry } from '../config/catalog/service-routes.ts'
import type { CredentialPlace } from './caller.ts'

const MOST_SECRET_BYTES = 512
const BEARER = /^bearer +(.*)$/i
const PRINTABLE = /^[\x21-\x7e]+$/

/** What a client sent to be let in by, and where. */
export interface Credential {
  text: string
  place: CredentialPlace
}

function readBearer(header: string | undefined): string | undefined {
  return header === undefined ? undefined : BEARER.exec(header)?.[1]
}

function firstOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

const KEY_ENTRY = /^openai-insecure-api-key\.(.+)$/
/** Also as a library for services would send it. */
const SERVICE_ENTRY = /^(?:openai-insecure-api-key|bearer)\.(.+)$/

/** Browsers can put no header on a WebSocket: their secret comes as one of the subprotocols they offer. */
function readSubprotocol(headers: IncomingHttpHeaders, entryOf: RegExp): string | undefined {
  const offered = headers['sec-websocket-protocol']
  if (offered === undefined || headers.upgrade?.toLowerCase() !== 'websocket') return undefined
  for (const entry of offered.split(',')) {
    const secret = entryOf.exec(entry.trim())?.[1]
    if (secret !== undefined) return secret
  }
  return undefined
}

/** Where clients of OpenAI, Anthropic, Azure and Google put their key. */
const KEY_HEADERS = ['x-api-key', 'api-key', 'x-goog-api-key'] as const

/** The secret a client sends: `Authorization: Bearer`, else the first of the other headers; a browser's WebSocket: a subprotocol. */
export function readCredential(headers: IncomingHttpHeaders): string | undefined {
  const sent =
    readBearer(headers.authorization) ??
    firstOf(headers['x-api-key']) ??
    firstOf(headers['api-key']) ??
    firstOf(headers['x-goog-api-key']) ??
    readSubprotocol(headers, KEY_ENTRY)
  return fitSecret(sent)
}

/** What may be a secret of ours. */
export function fitSecret(sent: string | undefined): string | undefined {
  const secret = sent?.trim()
  return secret && secret.length <= MOST_SECRET_BYTES && PRINTABLE.test(secret) ? secret : undefined
}

/** Where a service's route looks for a credential. */
export interface ServiceCredentials {
  takes: Entry
  /** `authorization` is the service's own where the caller has sent a credential elsewhere. */
  isAuthorizationLast: boolean
  /** What stood in the query as `api_key`. */
  queryKey: string | undefined
}

/** A JWT stands nowhere else. */
export function isPlaceOfJwts({ place }: Credential): boolean {
  return place === 'authorization' || place === 'subprotocol'
}

/** The same on a service's route, with its place. */
export function readServiceCredential(
  headers: IncomingHttpHeaders,
  { takes, isAuthorizationLast, queryKey }: ServiceCredentials,
): Credential | undefined {
  const text = readBearer(headers.authorization)?.trim()
  const authorization: Credential | undefined = text ? { text, place: 'authorization' } : undefined
  if (authorization && (!isAuthorizationLast || takes === 'jwt')) return authorization
  const key = takes === 'jwt' ? undefined : readKey(headers)
  if (key) return key
  const entry = readSubprotocol(headers, SERVICE_ENTRY)
  if (entry !== undefined) return { text: entry, place: 'subprotocol' }
  if (queryKey !== undefined && takes !== 'jwt') return { text: queryKey, place: 'query' }
  return authorization
}

function readKey(headers: IncomingHttpHeaders): Credential | undefined {
  for (const place of KEY_HEADERS) {
    const text = firstOf(headers[place])?.trim()
    if (text) return { text, place }
  }
  return undefined
}

/** What is odd about a credential that is refused; its owner will not see it otherwise. */
export function describeOddity({ authorization, ...headers }: IncomingHttpHeaders): string {
  if (authorization !== undefined) {
    if (/^bearer[ :]+bearer\b/i.test(authorization))
      return ' The header "Authorization" says "Bearer" twice: configure the token alone, your client adds the word.'
    if (/^bearer *:/i.test(authorization)) return ' Write "Bearer <token>" without a colon.'
    if (/^bearer *$/i.test(authorization))
      return ' Nothing follows "Bearer": is the variable of your token empty?'
    if (/^bearer +["'<]/i.test(authorization)) return ' Write the token without quotes or brackets.'
    if (!/^bearer\b/i.test(authorization)) return ' The header "Authorization" does not begin with "Bearer ".'
    return ''
  }
  const named = KEY_HEADERS.find((name) => /^bearer\b/i.test(firstOf(headers[name]) ?? ''))
  return named === undefined ? '' : ` The header "${named}" takes the token alone, without "Bearer".`
}
