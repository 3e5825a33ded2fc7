import { OF_GATEWAY, OF_GATEWAY_FAMILIES, OF_ONE_HOP, OF_PROXIES } from '../../config/header-names.ts'

/** Where clients put the key that they pay with. */
const CREDENTIALS = new Set(['x-api-key', 'api-key', 'x-goog-api-key'])

/** Another method than the one that was checked: where a route is particular about methods they are left out. */
export const METHOD_OVERRIDES: ReadonlySet<string> = new Set([
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
])

const HANDSHAKE = 'sec-websocket-'

/** Whether this field, its name in lower case, may go on from a client to a service. Credentials and cookies are told by others. */
export function mayPassUp(name: string): boolean {
  return !(
    OF_ONE_HOP.has(name) ||
    OF_GATEWAY.has(name) ||
    OF_PROXIES.has(name) ||
    CREDENTIALS.has(name) ||
    OF_GATEWAY_FAMILIES.test(name) ||
    (ODD.test(name) && isReadAsOurs(name)) ||
    name.startsWith(HANDSHAKE)
  )
}

const ODD = /[^a-z0-9-]/

/** CGI reads `x_user_id` as `x-user-id`, and some servers make the same of each mark that a name may have: `x.user.id`. */
function isReadAsOurs(name: string): boolean {
  if (name.includes('_')) return true
  const read = name.replace(/[^a-z0-9-]/g, '-')
  return !mayPassUp(read) || METHOD_OVERRIDES.has(read)
}

/**
 * Behind a body no one may say who is asking or what else is asked: some servers read what is there as if it had come
 * before (RFC 9110, section 6.5.1).
 */
export function mayTrailUp(name: string): boolean {
  return mayPassUp(name) && name !== 'authorization' && name !== 'cookie' && !METHOD_OVERRIDES.has(name)
}

/** Whether this field of a service's answer may go on to the client. Cookies and CORS are told by others. */
export function mayPassDown(name: string): boolean {
  return !(
    OF_ONE_HOP.has(name) ||
    /^x-(?:internal|user-id$|user-claims$)/.test(name) ||
    // It would lead clients around the gateway.
    name === 'alt-svc' ||
    // The service got it from here, and the client has it.
    name === 'x-request-id'
  )
}

/** The names that `Connection` makes a matter of one hop, in lower case; undefined: none but the usual. */
export function connectionNames(value: string | undefined): ReadonlySet<string> | undefined {
  if (value === undefined || USUAL.test(value)) return undefined
  return new Set(value.split(',').map((name) => name.trim().toLowerCase()))
}

const USUAL = /^(?:keep-alive|close)$/i

/** Names and values in turn, of those that may pass. */
export function passFields(flat: readonly string[], mayPass: (name: string) => boolean): string[] {
  const passed: string[] = []
  for (let at = 0; at < flat.length; at += 2) {
    const name = flat[at] ?? ''
    if (mayPass(name.toLowerCase())) passed.push(name, flat[at + 1] ?? '')
  }
  return passed
}
