/** What ends at the next hop (RFC 9110, section 7.6.1), and what says how a body is framed: no rule passes these. */
const OF_ONE_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
])

/** The gateway alone says these to a service; anybody else would be believed as the gateway is. */
const OURS = new Set([
  'host',
  'content-length',
  'via',
  'traceparent',
  'tracestate',
  'x-request-id',
  'x-user-id',
  'x-user-claims',
  'x-token-id',
  'x-token-user',
  'forwarded',
  'x-real-ip',
])

const OUR_FAMILIES = /^x-(?:internal|forwarded)(?:-|$)/

/** By these a client could tell a service that it is somebody else, elsewhere, or asks for something else. */
const SPOOFS = new Set([
  'client-ip',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-original-forwarded-for',
  'x-originating-ip',
  'x-remote-ip',
  'x-remote-addr',
  'x-remote-user',
  'remote-user',
  'forwarded-for',
  'proxy-client-ip',
  'wl-proxy-client-ip',
  'http-client-ip',
  'do-connecting-ip',
  'fly-client-ip',
  'cf-connecting-ip',
  'cf-connecting-ipv6',
  'cf-pseudo-ipv4',
  'fastly-client-ip',
  'x-appengine-user-ip',
  'x-azure-clientip',
  'x-azure-socketip',
  'x-envoy-external-address',
  'x-envoy-original-path',
  'x-original-url',
  'x-original-uri',
  'x-original-host',
  'x-original-method',
  'x-rewrite-url',
  'x-host',
  'x-http-host-override',
  // CGI would make HTTP_PROXY of it, by which programs find a proxy.
  'proxy',
])

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
    OURS.has(name) ||
    SPOOFS.has(name) ||
    CREDENTIALS.has(name) ||
    OUR_FAMILIES.test(name) ||
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
