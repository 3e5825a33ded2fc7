import type { IncomingMessage } from 'node:http'
import type { ServiceRoute, ServiceTarget } from '../../config/catalog/service-routes.ts'
import { isBelow } from '../../config/public-paths.ts'
import { type GatewayError, invalidRequest } from '../../errors.ts'

/** Nearly every path: nothing in it could be read in two ways. */
const PLAIN = /^[\w.~!$&'()*+,=:@/-]*$/
const DOTS = /(?:^|[/;\\])\.\.(?:[/;\\]|$)/
/** ASCII (dots and slashes, say) as UTF-8 of two, three or four bytes: some decoders of before take it for what it is not. */
const OVERLONG = /%c[01]|%e0%[89]|%f0%8/i
/** A path that is encoded more often than this was never meant to be read. */
const MOST_DECODINGS = 5

/** One decoding of what stands for ASCII, as a server does it, whatever else the path holds. */
export function decodeAscii(path: string): string {
  return path.replace(/%([0-7][0-9a-f])/gi, (_code, hex: string) => String.fromCharCode(parseInt(hex, 16)))
}

/**
 * Why a path may reach no service; undefined: it is sent as it came, byte for byte. What it is refused for:
 * - dot segments (`..`, also encoded, twice encoded, behind `;` or a backslash): they lead out of the route's base, and a
 *   service that decodes once more than its framework is common enough;
 * - backslashes, also encoded: browsers, IIS and some frameworks read them as slashes;
 * - NUL and other control bytes, also encoded: they end strings, lines of logs and heads;
 * - two slashes at the beginning of what is sent: a service that reads it as a URL finds a host there;
 * - ASCII that is written as longer UTF-8 (`%c0%ae`): a decoder that is not strict reads `.` or `/`;
 * - `#`: the rest would be no part of the path to whoever reads it as a URL;
 * - a `%` without two digits: nobody knows how it is read.
 * What passes: encoded slashes, `;` and its parameters, two slashes within, single dots, letters that are encoded needlessly, bytes
 * beyond ASCII. None of them leaves the base, and services have names that need them. (Whether a service may read
 * such a path as one of another route is the table's question.)
 */
export function findServicePathMistake(path: string): GatewayError | undefined {
  if (PLAIN.test(path) && !path.includes('..')) return undefined
  if (/%(?![0-9a-f]{2})/i.test(path)) return refuse('a "%" that is not followed by two hexadecimal digits')
  let plain = path
  for (let round = 0; round <= MOST_DECODINGS; round++) {
    if (plain.includes('\\')) return refuse('a backslash')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    if (/[\0-\x1f\x7f]/.test(plain)) return refuse('a control character')
    if (DOTS.test(plain)) return refuse('".."')
    if (OVERLONG.test(plain)) return refuse('a character that is written with more bytes than it has')
    const next = decodeAscii(plain)
    if (next === plain) return undefined
    plain = next
  }
  return refuse('what is encoded many times over')
}

/** A name or an address, and a port (RFC 9110, section 7.2); a client of HTTP/1.0 may send none. */
const HOST = /^(?:(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?)?$/i

/**
 * What a service could read in another way than we do, though no route is left by it: a `Host` that is none, which a
 * service would build its links of; a fragment, which no request has; a line of another HTTP than 1.0 and 1.1, which the parser reads
 * as one of 1.1.
 */
export function findServiceHeadMistake({ url = '', headers, httpVersion }: Head): GatewayError | undefined {
  const isOld = httpVersion === '1.0'
  if (httpVersion !== '1.1' && !isOld) return invalidRequest('Send the request as HTTP/1.1.')
  // Whoever stands between and speaks HTTP/1.0 sees another end of the body (RFC 9112, section 6.1).
  if (isOld && headers['transfer-encoding'] !== undefined)
    return invalidRequest('A body in chunks wants HTTP/1.1. Send its length.')
  if (!HOST.test(headers.host ?? ''))
    return invalidRequest(
      'Send a name or an address in the header "host", and no more than a port behind it.',
    )
  return url.includes('#') ? refuse('"#"') : undefined
}

type Head = Pick<IncomingMessage, 'url' | 'headers' | 'httpVersion'>

function refuse(what: string): GatewayError {
  return invalidRequest(`The path holds ${what}. Send it without.`)
}

type Mapping = Pick<ServiceRoute, 'prefix' | 'keepsPrefix'>

/** What is asked of the target: its base, what the table leaves of the path, and the query as it came. Undefined: two slashes lead it. */
export function mapUrl(
  url: string,
  { prefix, keepsPrefix }: Mapping,
  { basePath }: Pick<ServiceTarget, 'basePath'>,
): string | undefined {
  const rest = keepsPrefix ? url : url.slice(prefix.length)
  const mapped = basePath + rest
  if (mapped.startsWith('//')) return undefined
  return mapped.startsWith('/') ? mapped : `/${mapped}`
}

/** The way back: the public path of a path of the target's; undefined: it is none of the route's. */
export function publicPath(
  path: string,
  { prefix, keepsPrefix }: Mapping,
  { basePath }: Pick<ServiceTarget, 'basePath'>,
): string | undefined {
  if (!isBelow(path, basePath)) return undefined
  const rest = path.slice(basePath.length)
  if (keepsPrefix) return isBelow(rest, prefix) ? rest : undefined
  return prefix + rest
}
