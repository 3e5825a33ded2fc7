import type { HeaderRules } from './service-routes.ts'
import { NO_RULES } from './service-row.ts'
import type { ServiceEntry } from './service-schema.ts'

/** What ends at the next hop, and how a body is framed (RFC 9110, 7.6.1): no rule can change it. */
const OF_HTTP =
  /^(connection|keep-alive|proxy-connection|proxy-authenticate|proxy-authentication-info|proxy-authorization|te|trailer|transfer-encoding|upgrade|http2-settings|expect|content-length)$/

/** What a service believes the gateway, or would believe anybody who could write it. */
const OF_GATEWAY =
  /^(host|via|traceparent|tracestate|x-request-id|x-user-id|x-user-claims|x-token-id|x-token-user|forwarded|x-real-ip|alt-svc|sec-websocket-.*|x-(internal|forwarded)(-.*)?)$/
/** The same under names that one proxy or another has for it. */
const OF_PROXIES =
  /^((true-|x-|x-cluster-|fastly-|fly-|http-|(wl-)?proxy-)?client-ip|forwarded-for|do-connecting-ip|x-original-.*|x-originating-ip|x-remote-(ip|addr|user)|remote-user|cf-connecting-ip(v6)?|cf-pseudo-ipv4|x-appengine-user-ip|x-azure-(client|socket)ip|x-envoy-(external-address|original-path)|x-rewrite-url|x-host|x-http-host-override|proxy)$/

const NAME = /^[!#$%&'*+.^`|~0-9a-z-]+$/
/** A value that every server takes. */
const VALUE = /^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?$/

interface Rules {
  set?: Readonly<Record<string, string | number>> | undefined
  remove?: readonly string[] | undefined
  pass?: readonly string[] | undefined
}

/** The rules of a row in lower case; what nobody may change is added to the mistakes, which begin with their path. */
export function readRules(
  said: Rules | undefined,
  { way, at, mistakes }: { way: 'request' | 'response'; at: string; mistakes: string[] },
): HeaderRules {
  if (!said) return NO_RULES
  const set: Record<string, string> = {}
  for (const [name, value] of Object.entries(said.set ?? {})) {
    const wrong = findNameMistake(name, way) ?? findValueMistake(String(value))
    if (wrong !== undefined) mistakes.push(`${at}.set.${name} ${wrong}`)
    if (Object.hasOwn(set, name.toLowerCase())) mistakes.push(`${at}.set.${name} is there twice: remove one`)
    set[name.toLowerCase()] = String(value)
  }
  const remove = (said.remove ?? []).map((name) => name.toLowerCase())
  for (const [index, name] of remove.entries()) {
    const wrong = findNameMistake(name, way)
    if (wrong !== undefined) mistakes.push(`${at}.remove[${index}] ${wrong}`)
  }
  return { set, remove, pass: said.pass ?? [] }
}

/** In words that follow the name's path. */
function findNameMistake(asked: string, way: 'request' | 'response'): string | undefined {
  const name = asked.toLowerCase()
  if (name.includes('_')) return 'has a "_", which some servers read as "-": no such header passes'
  if (!NAME.test(name)) return 'is no name of a header'
  if (OF_HTTP.test(name)) return "is a matter of one connection, or of a body's length: no rule can change it"
  // What a server may read a mark as.
  const read = name.replace(/[^a-z0-9-]/g, '-')
  if (OF_GATEWAY.test(read)) return "is the gateway's own: no rule can change it"
  if (way === 'request' && OF_PROXIES.test(read))
    return "says who or where a client is, which is the gateway's own"
  if (way === 'response' && name.startsWith('access-control-')) return 'is what "cors" says'
  return undefined
}

function findValueMistake(value: string): string | undefined {
  return value.length <= 4096 && VALUE.test(value)
    ? undefined
    : 'must be a text of 1 to 4096 printable ASCII characters, without blanks at its ends'
}

/** Both ways of a row. */
export function readBothRules(
  { headers }: Pick<ServiceEntry, 'headers'>,
  { at, mistakes }: { at: string; mistakes: string[] },
): { requestHeaders: HeaderRules; responseHeaders: HeaderRules } {
  const { request, response } = headers ?? {}
  return {
    requestHeaders: readRules(request, { way: 'request', at: `${at}.headers.request`, mistakes }),
    responseHeaders: readRules(response, { way: 'response', at: `${at}.headers.response`, mistakes }),
  }
}
