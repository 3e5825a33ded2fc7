import type { SessionForm } from '../../config/catalog/service-routes.ts'
import { invalidRequest } from '../../errors.ts'

/** What follows a route's prefix: the rest of the path, and the query with its `?`, both as the client wrote them. */
export interface PublicRest {
  path: string
  query: string
}

/** Neither the end of a segment nor a step to another one, however often it is decoded behind us. */
const VALUE = /^(?!\.{1,2}$)[^\p{Cc}/\\%?#;]+$/u

/**
 * Both public forms, `/x` and `?session_id=x`, as the one that the target knows. What is in that form already passes as it
 * came; other fields of the query stay.
 */
export function readSession({ name, in: place }: SessionForm, { path, query }: PublicRest): PublicRest {
  const fields = splitQuery(query, name)
  const segment = path.replace(/^\//, '').replace(/\/$/, '')
  if (segment !== '' && fields.values.length > 0) throw ambiguous(name)
  if (place === 'query') {
    if (segment === '') return { path: '', query }
    return {
      path: '',
      query: joinQuery([`${name}=${encodeURIComponent(decodeValue(segment, name))}`, ...fields.others]),
    }
  }
  if (segment !== '') {
    decodeValue(segment, name)
    return { path: `/${segment}`, query }
  }
  const [value, ...more] = fields.values
  if (value === undefined)
    throw invalidRequest(`Say which session: "/<${name}>" behind the path, or "?${name}=".`)
  if (more.length > 0) throw ambiguous(name)
  const decoded = decodeValue(value.replaceAll('+', ' '), name)
  return { path: `/${encodeURIComponent(decoded)}`, query: joinQuery(fields.others) }
}

function splitQuery(query: string, name: string): { values: string[]; others: string[] } {
  const values: string[] = []
  const others: string[] = []
  for (const field of query === '' ? [] : query.slice(1).split('&')) {
    const equals = field.indexOf('=')
    const key = equals < 0 ? field : field.slice(0, equals)
    if (decode(key) === name) values.push(equals < 0 ? '' : field.slice(equals + 1))
    else others.push(field)
  }
  return { values, others }
}

function joinQuery(fields: readonly string[]): string {
  return fields.length === 0 ? '' : `?${fields.join('&')}`
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function decodeValue(text: string, name: string): string {
  const value = decode(text)
  if (value !== undefined && VALUE.test(value)) return value
  throw invalidRequest(`"${name}" must be one name: no slash, no "..", no "%" and no control character.`)
}

function ambiguous(name: string) {
  return invalidRequest(`Say once which session: in the path, or as "${name}" in the query.`)
}
