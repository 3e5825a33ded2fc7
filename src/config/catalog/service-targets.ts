import { isPrivateHost } from '../private-host.ts'
import type { ServiceTarget, SessionForm } from './service-routes.ts'

interface Targets {
  targets: ServiceTarget[]
  /** Hosts that are not the operator's alone and are asked over plain HTTP. */
  open: string[]
}

const SCHEMES = ['http', 'https', 'ws', 'wss'] as const
type Scheme = (typeof SCHEMES)[number]

/** Where a service is: `http://users:3000/v2`, several with commas between. No text of a mistake repeats a URL. */
export function readTargets(text: string): Targets | { mistake: string } {
  const targets: ServiceTarget[] = []
  const open: string[] = []
  const urls = text.split(',').map((each) => each.trim())
  for (const [index, url] of urls.entries()) {
    const found = readTarget(url)
    const place = urls.length > 1 ? `(URL ${index + 1}) ` : ''
    if ('mistake' in found) return { mistake: place + found.mistake }
    if (targets.some(({ origin, basePath }) => origin === found.origin && basePath === found.basePath))
      return { mistake: `${place}leads twice to the same place: remove one` }
    const { hostname, protocol } = new URL(found.origin)
    if (protocol === 'http:' && !isPrivateHost(hostname)) open.push(hostname)
    targets.push(found)
  }
  return { targets, open }
}

/**
 * One URL of a service. `ws://` says what is asked and not where: a handshake is HTTP. No text of a mistake repeats the
 * URL, which may hold a password.
 */
export function readTarget(
  text: string,
  schemes: readonly Scheme[] = SCHEMES,
): ServiceTarget | { mistake: string } {
  const { rest, session } = takeSession(text)
  const scheme = /^([a-z]+):\/\//i.exec(rest)?.[1]?.toLowerCase()
  const url = URL.parse(rest)
  if (!url || !schemes.some((each) => each === scheme))
    return { mistake: `must lead to a URL that starts with ${listOf(schemes)}` }
  const mistake = findUrlMistake(url, text, rest)
  if (mistake !== undefined) return { mistake }
  const { origin } = new URL(`${scheme === 'https' || scheme === 'wss' ? 'https' : 'http'}://${url.host}`)
  return { origin, basePath: url.pathname.replace(/\/+$/, ''), ...(session ? { session } : {}) }
}

/** A name or an address, as a parser of URLs leaves it: that lets more through than any network has. */
const HOST = /^(\[[\da-f:.]+\]|[a-z\d._-]+)$/

/** What nobody could reach, or reach as it was meant. */
function findUrlMistake(url: URL, text: string, rest: string): string | undefined {
  if (url.username || url.password) return 'must lead to a URL without user name and password'
  // It would be a part of the name, and the entry would let in whom it was to keep out.
  if (/![a-z]*$/i.test(text))
    return 'must lead to a URL without a "!" at its end: a mark such as !jwt stands once, behind the last URL of a setting, and a row of a file says "auth"'
  if (/[?#{}]/.test(rest))
    return 'must lead to a URL that ends with its path: no "?" and no "#", but for /{session_id} or ?session_id={session_id} at its end'
  if (!HOST.test(url.hostname) || url.port === '0')
    return 'must lead to a URL with the name or the address of a host and a port from 1 to 65535, and commas between several'
  // Each path behind it would be refused.
  return url.pathname.startsWith('//')
    ? 'must lead to a URL whose path does not begin with two slashes'
    : undefined
}

function listOf(schemes: readonly Scheme[]): string {
  const all = schemes.map((scheme) => `${scheme}://`)
  return `${all.slice(0, -1).join(', ')} or ${all.at(-1)}`
}

/** `/ws/{session_id}` or `/ws?session_id={session_id}` at the end of a URL, taken off. */
function takeSession(text: string): { rest: string; session?: SessionForm } {
  const [query, field, inQuery] = /\?([\w-]+)=\{([\w-]+)\}$/.exec(text) ?? []
  if (query !== undefined && field !== undefined && field === inQuery)
    return { rest: text.slice(0, -query.length), session: { name: field, in: 'query' } }
  const [part, name] = /\/\{([\w-]+)\}$/.exec(text) ?? []
  if (part !== undefined && name !== undefined)
    return { rest: text.slice(0, -part.length), session: { name, in: 'path' } }
  return { rest: text }
}
