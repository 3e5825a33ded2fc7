import { findPathMistake } from '../public-paths.ts'

/** A public path whose WebSockets are handed to a service, unmetered. */
export interface WsRoute {
  prefix: string
  /** The service, its scheme `http:` or `https:` as the handshake is HTTP; the rest of the path and the query follow. */
  url: string
  /** Lets clients through without a token. */
  isOpen: boolean
}

const OPEN = '!open'
const SCHEMES: Readonly<Record<string, string>> = { 'ws:': 'http:', 'wss:': 'https:' }

/** One `/path=ws://host:port/path` of WS_ROUTES; a trailing `!open` needs no token. */
export function readWsRoute(entry: string): WsRoute | { mistake: string } {
  const equals = entry.indexOf('=')
  if (equals < 0) return { mistake: 'must be a path and a URL, such as /ws=ws://backend:8000/ws' }
  return buildWsRoute(entry.slice(0, equals).trim(), entry.slice(equals + 1).trim())
}

/** The same in two halves, as the models file has them. */
export function buildWsRoute(path: string, target: string): WsRoute | { mistake: string } {
  const prefix = path.replace(/\/$/, '')
  const mistake = findPathMistake(prefix)
  if (mistake) return { mistake }
  const isOpen = target.endsWith(OPEN)
  const text = isOpen ? target.slice(0, -OPEN.length) : target
  const url = URL.parse(text)
  const scheme = SCHEMES[url?.protocol ?? '']
  // The text never repeats the URL, which may hold a password.
  if (!url || scheme === undefined)
    return { mistake: `(${prefix}) must lead to a URL that starts with ws:// or wss://` }
  if (url.username || url.password)
    return { mistake: `(${prefix}) must lead to a URL without user name and password` }
  if (/[?#]/.test(text))
    return { mistake: `(${prefix}) must lead to a URL that ends with its path: no "?" and no "#"` }
  return { prefix, url: `${scheme}//${url.host}${url.pathname.replace(/\/+$/, '')}`, isOpen }
}

/** What is wrong between the entries, wherever they come from. */
export function findWsRouteMistakes(
  routes: readonly WsRoute[],
  passthrough: readonly { prefix: string }[],
): string[] {
  const seen = new Set<string>()
  return routes.flatMap(({ prefix }) => {
    if (passthrough.some((entry) => entry.prefix === prefix))
      return [`WS_ROUTES ${prefix} is an entry of PASSTHROUGH_PATHS too: give one of them another path`]
    if (seen.has(prefix)) return [`WS_ROUTES ${prefix} leads to two places: remove one of them`]
    seen.add(prefix)
    return []
  })
}
