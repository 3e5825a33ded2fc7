import type { ServiceRoute, ServiceTarget } from '../../config/catalog/service-routes.ts'
import { isBelow } from '../../config/public-paths.ts'
import { publicPath } from '../paths/service-path.ts'

/** Where an answer comes from, and which public path it has. */
export interface Whence {
  route: Pick<ServiceRoute, 'prefix' | 'keepsPrefix' | 'targets'>
  target: ServiceTarget
  /** What the service was told that its client speaks: many write it before the name that they were asked by. */
  scheme?: string
}

const ABSOLUTE = /^(?:(https?):)?\/\/([^/?#\\]*)(.*)$/is
const PATH = /^([^?#]*)(.*)$/s

/** Its scheme and authority are those of `origin`, or the scheme is as `told`; without one it is the same as what it stands in. */
function isOf(origin: string, { scheme, authority, told }: Said): boolean {
  const at = origin.indexOf('://')
  const own = origin.slice(0, at)
  const said = scheme?.toLowerCase() ?? own
  if (said !== own && said !== told) return false
  const bare = (text: string, by: string) => {
    const port = by === 'https' ? ':443' : ':80'
    return text.endsWith(port) ? text.slice(0, -port.length) : text
  }
  return bare(authority.toLowerCase(), said) === bare(origin.slice(at + 3).toLowerCase(), own)
}

interface Said {
  scheme: string | undefined
  authority: string
  told: string | undefined
}

/**
 * `Location` and `Content-Location` as a client may follow them: what points into the service, by its own address or by a path
 * alone, points to the public path; all else stays what it is. A path that is public already stays too: services that read
 * `x-forwarded-prefix` write such.
 */
export function mapLocation(value: string, { route, target, scheme: told }: Whence): string {
  const absolute = ABSOLUTE.exec(value)
  if (!absolute) return value.startsWith('/') ? mapPath(value, route, target) : value
  const [, scheme, authority = '', rest = ''] = absolute
  const place = [target, ...route.targets].find(({ origin }) => isOf(origin, { scheme, authority, told }))
  if (!place) return value
  // Nobody outside knows the host, and whoever follows comes back here.
  return mapPath(rest.startsWith('/') ? rest : `/${rest}`, route, place)
}

function mapPath(value: string, route: Whence['route'], target: ServiceTarget): string {
  const [, path = '', rest = ''] = PATH.exec(value) ?? []
  if (!route.keepsPrefix && isBelow(path, route.prefix)) return value
  return (publicPath(path, route, target) ?? path) + rest
}

/** Nothing in it can be read in two ways: a value of blanks alone would keep a pattern busy for minutes. */
const REFRESH = /^(\s*\d[\d.]*\s*[;,]\s*(?:url\s*=\s*)?)(.*)$/is

/** `Refresh` has a URL behind a number and a semicolon, also in quotes. */
export function mapRefresh(value: string, whence: Whence): string {
  const [, start, rest = ''] = REFRESH.exec(value) ?? []
  if (start === undefined) return value
  const quote = rest.startsWith("'") || rest.startsWith('"') ? rest.charAt(0) : ''
  const begin = quote.length
  const end = quote === '' ? rest.trimEnd().length : rest.indexOf(quote, begin)
  const url = rest.slice(begin, end === -1 ? undefined : end)
  return start + quote + mapLocation(url, whence) + rest.slice(begin + url.length)
}

/**
 * A cookie of the service as the public host's: no domain, and the path below the public prefix. One without a path is for
 * the folder of the path that was asked for: where that is the prefix alone, the folder holds other services too.
 */
export function mapCookie(value: string, whence: Whence, asked?: string): string {
  const [pair = '', ...attributes] = value.split(';')
  const kept = attributes.flatMap((attribute) => {
    const name = attribute.split('=', 1)[0]?.trim().toLowerCase()
    if (name === 'domain') return []
    // Browsers take such a cookie with the path "/" alone.
    if (name !== 'path' || /^\s*__Host-/i.test(pair)) return [attribute]
    return [` Path=${cookiePath(attribute.slice(attribute.indexOf('=') + 1).trim(), whence)}`]
  })
  const { prefix } = whence.route
  if (asked === prefix && !kept.some(hasPath)) kept.push(` Path=${prefix}`)
  return [pair, ...kept].join(';')
}

function hasPath(attribute: string): boolean {
  return /^\s*path\s*=\s*\//i.test(attribute)
}

function cookiePath(path: string, { route, target }: Whence): string {
  if (!path.startsWith('/')) return path
  if (!route.keepsPrefix && isBelow(path, route.prefix)) return path
  const bare = path === '/' ? '' : path
  const mapped = publicPath(bare === '' ? target.basePath : bare, route, target)
  return mapped === undefined || mapped === '' ? route.prefix : mapped
}
