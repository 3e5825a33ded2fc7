import { OF_GATEWAY, OF_GATEWAY_FAMILIES, OF_ONE_HOP, OF_PROXIES } from '../header-names.ts'
import type { HeaderRules } from './service-routes.ts'
import { NO_RULES } from './service-row.ts'
import type { ServiceEntry } from './service-schema.ts'

/** How a body ends is not a matter of words. */
const OF_FRAMING = new Set(['content-length', 'trailer'])

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
  if (OF_ONE_HOP.has(name) || OF_FRAMING.has(name))
    return "is a matter of one connection, or of a body's length: no rule can change it"
  // What a server may read a mark as.
  const read = name.replace(/[^a-z0-9-]/g, '-')
  if (isOfGateway(read)) return "is the gateway's own: no rule can change it"
  if (way === 'request' && OF_PROXIES.has(read))
    return "says who or where a client is, which is the gateway's own"
  if (way === 'response' && name.startsWith('access-control-')) return 'is what "cors" says'
  return undefined
}

function isOfGateway(name: string): boolean {
  const isKnown = OF_GATEWAY.has(name) || OF_GATEWAY_FAMILIES.test(name)
  // It would lead clients around the gateway, or is a handshake's, which is made anew.
  return isKnown || name === 'alt-svc' || name.startsWith('sec-websocket-')
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
