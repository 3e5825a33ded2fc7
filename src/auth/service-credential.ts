import type { IncomingHttpHeaders } from 'node:http'
import type { Entry } from '../config/catalog/service-routes.ts'
import type { CredentialPlace } from './caller.ts'
import { firstOf, KEY_HEADERS, readBearer, readSubprotocol } from './client.ts'

/** What a client sent to be let in by, and where. */
export interface Credential {
  text: string
  place: CredentialPlace
}

/** Also as a library for services would send it. */
const SERVICE_ENTRY = /^(?:openai-insecure-api-key|bearer)\.(.+)$/

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

/** The credential of a request on a service's route, and where it stood. */
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
