import type { IncomingMessage } from 'node:http'
import type { ServiceRoute } from '../../config/catalog/service-routes.ts'
import { mapCookie, mapLocation, mapRefresh, type Whence } from './location.ts'
import { connectionNames, mayPassDown, passFields } from './passing-headers.ts'

export interface Downward extends Whence {
  route: Whence['route'] & Pick<ServiceRoute, 'cookies' | 'responseHeaders'>
  /** The gateway answers pages of other origins here; the service's words about that are left out. */
  hasCors: boolean
  /** The public path that was asked for. */
  asked?: string
  /** Fields may follow the body; without it nothing may say that they do. */
  mayTrail?: boolean
  /** No body can be behind it, and no length may be said (RFC 9110 section 8.6). */
  isEmpty?: boolean
  /** What leaves with any answer: our `x-request-id`, limits, CORS. Names in lower case. */
  own: { [name: string]: unknown }
}

/** Each may say what an answer depends on, which cookies it sets, and what of it pages may read. */
const SAID_BY_BOTH = new Set(['vary', 'set-cookie', 'access-control-expose-headers'])

/** The head that a client gets: names and values in turn, in the order and spelling of the service. */
export function buildAnswerHead(answer: readonly string[], down: Downward): string[] {
  const { own, route } = down
  const { remove, set } = route.responseHeaders
  const head: string[] = []
  for (const name in own) addOwn(head, name, own[name])
  const hop = connectionNames(findValue(answer, 'connection'))
  for (let at = 0; at < answer.length; at += 2) {
    const name = answer[at] ?? ''
    const lower = name.toLowerCase()
    if (!mayPassDown(lower) || hop?.has(lower) || remove.includes(lower) || Object.hasOwn(set, lower))
      continue
    if (Object.hasOwn(own, lower) && !SAID_BY_BOTH.has(lower)) continue
    if (down.isEmpty && lower === 'content-length') continue
    if (down.hasCors && lower.startsWith('access-control-') && !SAID_BY_BOTH.has(lower)) continue
    const value = readValue(lower, answer[at + 1] ?? '', down)
    if (value !== undefined) head.push(name, value)
  }
  for (const name in set) if (mayPassDown(name) && !Object.hasOwn(own, name)) head.push(name, set[name] ?? '')
  return head
}

const NOTHING: Downward['own'] = {}

/** What is said before the answer (1xx): by the same rules, but what the gateway adds and cookies come with the answer itself. */
export function buildInterimHead(answer: readonly string[], down: Omit<Downward, 'own'>): string[] {
  const { remove, set } = down.route.responseHeaders
  const responseHeaders = { ...down.route.responseHeaders, set: {}, remove: [...remove, ...Object.keys(set)] }
  const route = { ...down.route, cookies: false, responseHeaders }
  return buildAnswerHead(answer, { ...down, route, own: NOTHING, isEmpty: true })
}

/** What is said behind the answer: a rule of the route holds there too, and of CORS nothing stands there. */
export function passTrailers(
  trailers: readonly string[],
  { responseHeaders: { remove, set } }: Pick<ServiceRoute, 'responseHeaders'>,
): string[] {
  return passFields(
    trailers,
    (name) =>
      mayPassDown(name) &&
      !remove.includes(name) &&
      !Object.hasOwn(set, name) &&
      !name.startsWith('access-control-'),
  )
}

function addOwn(head: string[], name: string, value: unknown): void {
  if (value === undefined) return
  if (Array.isArray(value)) for (const one of value) head.push(name, String(one))
  else head.push(name, String(value))
}

/** Undefined: the client does not get it. */
function readValue(name: string, value: string, down: Downward): string | undefined {
  switch (name) {
    case 'location':
    case 'content-location':
      return mapLocation(value, down)
    case 'refresh':
      return mapRefresh(value, down)
    case 'trailer':
      return down.mayTrail ? value : undefined
    case 'set-cookie':
      return down.route.cookies ? mapCookie(value, down, down.asked) : undefined
    default:
      return value
  }
}

/** Only behind chunks, and only where there is a body. */
export function mayTrail(raw: IncomingMessage, status: number, headers: readonly string[]): boolean {
  const hasBody = raw.method !== 'HEAD' && status !== 204 && status !== 304
  return hasBody && raw.httpVersion === '1.1' && findValue(headers, 'transfer-encoding') !== undefined
}

/** All values of a field, joined by commas. */
export function findValue(flat: readonly string[], name: string): string | undefined {
  let found: string | undefined
  for (let at = 0; at < flat.length; at += 2) {
    const each = flat[at]
    if (each?.length !== name.length || each.toLowerCase() !== name) continue
    const value = flat[at + 1] ?? ''
    found = found === undefined ? value : `${found}, ${value}`
  }
  return found
}
