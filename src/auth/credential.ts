import type { IncomingHttpHeaders } from 'node:http'

const MOST_BYTES = 512
const BEARER = /^bearer +(.*)$/i
const PRINTABLE = /^[\x21-\x7e]+$/

const readBearer = (header: string | undefined): string | undefined =>
  header === undefined ? undefined : BEARER.exec(header)?.[1]

const firstOf = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined

/** The secret a client sends: `Authorization: Bearer`, else `x-api-key`, else `api-key`. */
export const readCredential = (headers: IncomingHttpHeaders): string | undefined => {
  const sent =
    readBearer(headers.authorization) ?? firstOf(headers['x-api-key']) ?? firstOf(headers['api-key'])
  const secret = sent?.trim()
  return secret && secret.length <= MOST_BYTES && PRINTABLE.test(secret) ? secret : undefined
}
