import { type BaseUrl, readBaseUrl } from '../base-url.ts'
import { PAID_ENDPOINTS } from '../endpoints.ts'
import { KNOWN_PROVIDERS, type KnownProvider } from './providers.ts'

/** Where a provider is asked, and what its operator should know of how that was read. */
export interface Address extends BaseUrl {
  warning?: string
}

/** An address that ends in what is asked there, as it is copied from an example: the longest are looked for first. */
const ENDPOINTS = [...PAID_ENDPOINTS.map(({ path }) => path), '/models', '/chat'].toSorted(
  (a, b) => b.length - a.length,
)

/**
 * Reads the address of a provider that the settings know. One that was copied with an endpoint at its end, or without the
 * path of its maker, is mended and told of: it would be 404 for every request.
 */
export function readAddress(known: KnownProvider, text: string): Address | { mistake: string } {
  const url = readBaseUrl(text, { insecure: 'describe it in MODELS_FILE with "allowInsecure: true"' })
  if ('mistake' in url) return url
  const { origin } = url
  const basePath = withoutEndpoint(url.basePath)
  const cut = basePath === url.basePath ? '' : 'ends with an endpoint, which each request adds: '
  const path = basePath || known.pathIfNone || usualPath(origin)
  const ask = `${origin}${path ?? ''}`
  if (path === undefined)
    return {
      origin,
      basePath,
      warning: `${cut || 'has no path: '}it is asked at ${ask}/chat/completions; most services are at ${ask}/v1`,
    }
  const added = basePath === path || known.pathIfNone === path ? '' : 'has no path: '
  if (cut || added) {
    const read = path === usualPath(origin) || path === known.pathIfNone ? `as ${ask}` : 'without that'
    return { origin, basePath: path, warning: `${cut || added}it is read ${read}` }
  }
  const usual = usualPath(origin)
  // DeepSeek and others answer at more than one path; a part of the usual one is a mistake.
  if (usual === undefined || path === usual || !(usual.endsWith(path) || usual.startsWith(`${path}/`)))
    return { origin, basePath: path }
  return { origin, basePath: path, warning: `is not where its maker answers: that is ${origin}${usual}` }
}

/** `/v1/chat/completions` without what each request adds. */
export function withoutEndpoint(path: string): string {
  const end = ENDPOINTS.find((each) => path.toLowerCase().endsWith(each))
  return end === undefined ? path : path.slice(0, -end.length)
}

/** Where the maker at this origin answers; undefined: nobody here knows it. */
export function usualPath(origin: string): string | undefined {
  const maker = KNOWN_PROVIDERS.find(({ baseUrl }) => URL.parse(baseUrl)?.origin === origin)
  return maker && URL.parse(maker.baseUrl)?.pathname
}
