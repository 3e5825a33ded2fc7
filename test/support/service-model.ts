/**
 * What the gateway may make of bytes that are to lead to a service, said once more and from the RFCs: nothing here is the
 * gateway's own code. It reads strictly; what it calls `refused` must reach nobody.
 */

export interface ModelRoute {
  prefix: string
  basePath: string
  keeps: boolean
  /** Its callers are others than the one who asks here: nothing of it may pass. */
  isShut: boolean
}

/** One request that passes. */
export interface Sent {
  line: string
  /** End-to-end headers of the client, names in lower case, in their order. */
  headers: readonly (readonly [string, string])[]
  body: string
}

/**
 * Not certain is what stands in the same bytes as what cannot be read, or behind a request that was refused: whoever refuses
 * may close, and may do so before an earlier request was answered.
 */
export type Outcome = { isCertain: boolean } & (
  | { kind: 'sent'; sent: Sent }
  | { kind: 'refused' }
  | { kind: 'unfinished' }
)

interface Head {
  method: string
  target: string
  version: string
  headers: (readonly [string, string])[]
}

const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/
const MOST_HEAD_BYTES = 16 * 1024
/** A name or an address and a port (RFC 9110, section 7.2), or nothing: no path, no user, no scheme. */
const HOST = /^(?:(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?)?$/i
const METHODS = /^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|PROPFIND|SEARCH|QUERY)$/

/** What becomes of each request that stands in `bytes`, one after the other, up to one that cannot be read. */
export function expectOutcomes(bytes: string, routes: readonly ModelRoute[]): Outcome[] {
  const outcomes: Outcome[] = []
  let isCertain = true
  const isUnreadable = (): Outcome[] => [
    ...outcomes.map((each) => ({ ...each, isCertain: false })),
    { kind: 'refused', isCertain: outcomes.length === 0 },
  ]
  // Empty lines may stand before a request (RFC 9112, section 2.2).
  for (let rest = bytes.replace(/^[\r\n]+/, ''); rest !== ''; ) {
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0 && isBeginning(rest)) return [...outcomes, { kind: 'unfinished', isCertain }]
    const head = end < 0 ? undefined : readHead(rest.slice(0, end))
    const body = head === undefined ? 'wrong' : readBody(head.headers, rest.slice(end + 4))
    if (head === undefined || body === 'wrong') return isUnreadable()
    const target = mapTarget(head.target, routes)
    if (body === 'unfinished')
      return [...outcomes, { kind: target === undefined ? 'refused' : 'unfinished', isCertain }]
    if (target === undefined) {
      outcomes.push({ kind: 'refused', isCertain })
      isCertain = false
    } else {
      const sent = {
        line: `${head.method} ${target} HTTP/1.1`,
        headers: passedHeaders(head.headers),
        body: body.body,
      }
      outcomes.push({ kind: 'sent', sent, isCertain })
    }
    rest = body.rest
    // Whoever answers before it has asked for the body may close (RFC 9110, section 10.1.1).
    if (head.headers.some(([name]) => name === 'expect')) isCertain = false
    if (saysClose(head)) return rest === '' ? outcomes : isUnreadable()
  }
  return outcomes
}

function isBeginning(bytes: string): boolean {
  return /^[A-Z]+ \S+ HTTP\/1\.1\r\n([!#$%&'*+.^_`|~\w-]+: [^\0\r\n]*\r\n)*([\w-]*|[\w-]+: [^\0\r\n]*)$/.test(
    bytes,
  )
}

function saysClose({ version, headers }: Head): boolean {
  const words = headers.flatMap(([name, value]) =>
    name === 'connection' ? value.toLowerCase().split(/[ ,]+/) : [],
  )
  return words.includes('close') || (version === 'HTTP/1.0' && !words.includes('keep-alive'))
}

function readHead(text: string): Head | undefined {
  if (text.length > MOST_HEAD_BYTES) return undefined
  const [line = '', ...lines] = text.split('\r\n')
  // Several blanks are one to everybody (RFC 9112, section 3).
  const [method = '', target = '', version = '', ...more] = line.split(/ +/)
  if (more.length > 0 || !METHODS.test(method) || !/^HTTP\/1\.[01]$/.test(version)) return undefined
  const headers: (readonly [string, string])[] = []
  for (const each of lines) {
    const colon = each.indexOf(':')
    const [name, value] = [each.slice(0, colon), each.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')]
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what no value may hold.
    if (colon < 0 || !TOKEN.test(name) || /[\0-\x08\x0a-\x1f\x7f]/.test(value)) return undefined
    headers.push([name.toLowerCase(), value])
  }
  const hosts = headers.filter(([name]) => name === 'host')
  if (!hosts.every(([, value]) => HOST.test(value))) return undefined
  const count = (name: string) => headers.filter(([each]) => each === name).length
  const once = ['content-length', 'authorization'].every((name) => count(name) <= 1)
  const host = count('host') === 1 || (version === 'HTTP/1.0' && count('host') === 0)
  return once && host && headers.length <= 100 ? { method, target, version, headers } : undefined
}

/** By RFC 9112, section 6, as strictly as it may be: one way to say how long a body is, or none. */
export function readBody(
  headers: readonly (readonly [string, string])[],
  rest: string,
): { body: string; trailers: string; rest: string } | 'wrong' | 'unfinished' {
  const values = (name: string) => headers.filter(([each]) => each === name).map(([, value]) => value)
  const [codings, lengths] = [values('transfer-encoding'), values('content-length')]
  if (codings.length > 0) {
    if (lengths.length > 0 || codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked') return 'wrong'
    return readChunks(rest)
  }
  const [length = '0'] = lengths
  if (lengths.length > 1 || !/^\d{1,15}$/.test(length)) return 'wrong'
  if (rest.length < Number(length)) return 'unfinished'
  return { body: rest.slice(0, Number(length)), trailers: '', rest: rest.slice(Number(length)) }
}

function readChunks(bytes: string): ReturnType<typeof readBody> {
  let [body, rest] = ['', bytes]
  for (;;) {
    const end = rest.indexOf('\r\n')
    if (end < 0) return /^[\da-f]*(;[^\n]*)?\r?$/i.test(rest) ? 'unfinished' : 'wrong'
    const [, digits = ''] = CHUNK_SIZE.exec(rest.slice(0, end)) ?? []
    if (digits === '') return 'wrong'
    const size = Number.parseInt(digits, 16)
    rest = rest.slice(end + 2)
    if (size === 0) break
    if (rest.length < size + 2) return 'unfinished'
    if (rest.slice(size, size + 2) !== '\r\n') return 'wrong'
    body += rest.slice(0, size)
    rest = rest.slice(size + 2)
  }
  const [trailers = ''] = /^(?:[^\r\n]+\r\n)*(?=\r\n)/.exec(rest) ?? []
  if (!rest.startsWith('\r\n', trailers.length)) return rest.includes('\n\r\n') ? 'wrong' : 'unfinished'
  const lines = trailers.split('\r\n').slice(0, -1)
  if (!lines.every(isTrailer)) return 'wrong'
  return { body, trailers, rest: rest.slice(trailers.length + 2) }
}

function isTrailer(line: string): boolean {
  const [name = '', value] = line.split(/:(.*)/s)
  const framesBody = /^(content-length|transfer-encoding)$/i.test(name)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what no value may hold.
  return TOKEN.test(name) && value !== undefined && !framesBody && !/[\0-\x08\x0a-\x1f\x7f]/.test(value)
}

/** No extension may hold what a server that ends lines at a bare LF would take for the end of one. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what no extension may hold.
const CHUNK_SIZE = /^([\da-f]{1,8})(?:;[^\0-\x08\x0a-\x1f\x7f]+)?$/i

/** The target that a service is asked for; undefined: nobody is. */
export function mapTarget(target: string, routes: readonly ModelRoute[]): string | undefined {
  const [path = '', query] = target.split(/\?(.*)/s)
  if (!path.startsWith('/') || /[\0-\x20\x7f-\xff]/.test(target) || /#/.test(target)) return undefined
  if (!staysInside(path)) return undefined
  const route = longest(path, routes)
  if (route === undefined || route.isShut || longest(asLenient(path), routes) !== route) return undefined
  if (query !== undefined && /(?:^|[&;])(?:x-api-key|api[-_]?key)(?:=|&|;|$)/i.test(decodeOnce(query)))
    return undefined
  const mapped = route.basePath + (route.keeps ? path : path.slice(route.prefix.length))
  if (mapped.startsWith('//')) return undefined
  return `${mapped.startsWith('/') ? '' : '/'}${mapped}${query === undefined ? '' : `?${query}`}`
}

function decodeOnce(text: string): string {
  return text.replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** Whether a lead byte announces more bytes than its letter needs (RFC 3629, section 3). */
function holdsOverlong(path: string): boolean {
  const bytes = Array.from(path.matchAll(/%([\da-f]{2})/gi), ([, hex = '']) => Number.parseInt(hex, 16))
  return bytes.some((byte, index) => {
    const next = bytes[index + 1] ?? 0
    return (
      byte === 0xc0 ||
      byte === 0xc1 ||
      (byte === 0xe0 && next >> 5 === 4) ||
      (byte === 0xf0 && next >> 4 === 8)
    )
  })
}

/** However often somebody behind decodes it: no part of it leads up, and nothing in it ends a string, a line or a path. */
function staysInside(path: string): boolean {
  if (/%(?![\da-f]{2})/i.test(path)) return false
  let [read, before] = [path, '']
  for (let rounds = 0; read !== before; rounds += 1) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what no path may hold.
    if (rounds > 5 || /[\0-\x1f\x7f\\]/.test(read)) return false
    if (read.split(/[/;]/).includes('..') || holdsOverlong(read)) return false
    before = read
    read = read.replace(/%([0-7][\da-f])/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
  }
  return true
}

/** The path as the most forgiving of servers would take it: escapes, case, parameters, empty parts and dots mean nothing to it. */
function asLenient(path: string): string {
  let read = path
  for (let rounds = 0; rounds < 5; rounds += 1) read = decodeOnce(read)
  read = read.split(/[?#]/, 1)[0] ?? ''
  const parts: string[] = []
  for (const part of read.toLowerCase().split(/[/\\]/)) {
    const name = part.replace(/;.*/s, '').trim()
    if (name === '..') parts.pop()
    else if (name !== '' && name !== '.') parts.push(name)
  }
  return `/${parts.join('/')}`
}

function longest(path: string, routes: readonly ModelRoute[]): ModelRoute | undefined {
  const covering = routes.filter(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`))
  return covering.toSorted((a, b) => b.prefix.length - a.prefix.length)[0]
}

const OF_THE_HOP = [
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'te'],
  ...['transfer-encoding', 'upgrade', 'http2-settings', 'content-length', 'expect', 'host'],
]
/** What the gateway alone may say, and credentials of its own. */
export const GATEWAYS_OWN =
  /^(x-internal-.*|x-user-.*|x-token-.*|x-forwarded-.*|forwarded|x-real-ip|via|x-request-id|traceparent|tracestate)$/
const KEPT_HERE = /^(authorization|x-api-key|api-key|x-goog-api-key|cookie|.*_.*)$/
const OF_ADDRESSES =
  /^(true-client-ip|cf-connecting-ip(v6)?|x-client-ip|x-cluster-client-ip|x-original-(forwarded-for|url|host)|x-rewrite-url|x-host|fastly-client-ip|x-original-for|x-remote-(ip|addr)|client-ip|x-envoy-external-address|x-appengine-user-ip|x-azure-clientip|x-originating-ip|(x-)?remote-user|proxy|cf-pseudo-ipv4|fly-client-ip)$/

function passedHeaders(headers: Head['headers']): Head['headers'] {
  const named = headers
    .filter(([name]) => name === 'connection')
    .flatMap(([, value]) => value.split(',').map((each) => each.trim().toLowerCase()))
  return headers.filter(
    ([name]) =>
      !OF_THE_HOP.includes(name) &&
      !named.includes(name) &&
      ![GATEWAYS_OWN, KEPT_HERE, OF_ADDRESSES].some((pattern) => pattern.test(name)),
  )
}
