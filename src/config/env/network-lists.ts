import { isAddressBlock } from '../address-blocks.ts'

/** The entries of a comma list and what is wrong with it; a mistake names an entry by its place. */
export interface ListReading<T> {
  values: T[]
  mistakes: string[]
}

/** Reads a comma list entry by entry: each is a value, or a mistake in words that follow "NAME entry 1". */
export function readList<T>(
  name: string,
  text: string | undefined,
  readEntry: (entry: string) => T | { mistake: string },
): ListReading<T> {
  const reading: ListReading<T> = { values: [], mistakes: [] }
  const entries = (text ?? '').split(',').map((entry) => entry.trim())
  for (const [index, entry] of entries.entries()) {
    if (entry === '') continue
    const value = readEntry(entry)
    if (isMistake(value)) reading.mistakes.push(`${name} entry ${index + 1} ${value.mistake}`)
    else reading.values.push(value)
  }
  return reading
}

function isMistake(value: unknown): value is { mistake: string } {
  return typeof value === 'object' && value !== null && 'mistake' in value
}

/** One address or CIDR block whose `X-Forwarded-*` headers are believed. */
export function readTrustedProxy(entry: string): string | { mistake: string } {
  if (/^(true|false|\d+)$/i.test(entry)) {
    return {
      mistake:
        'must be an address: a number of hops or "true" lets any client invent its own. Name your proxy, such as 172.16.0.0/12',
    }
  }
  if (!isAddressBlock(entry))
    return { mistake: 'must be an IP address or a CIDR block, such as 10.0.0.0/8 or fd00::/8' }
  if (/\/0+$/.test(entry)) return { mistake: 'trusts the whole internet: name the block of your own proxy' }
  return entry
}

const ORIGIN =
  /^([a-z][a-z0-9+.-]*):\/\/(\*\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: '80', https: '443' }

/** One browser origin as a browser spells it: lower case, without a default port. */
export function readOrigin(entry: string): string | { mistake: string } {
  if (entry === '*') {
    return { mistake: 'would let every web page in: name your origins, such as https://app.example.com' }
  }
  const [match, scheme = '', star = '', host = '', port] = ORIGIN.exec(entry.toLowerCase()) ?? []
  if (!match) {
    return {
      mistake:
        'must be an origin such as https://app.example.com or https://*.example.com: no path, no final slash, "*." only at the front, other alphabets as xn--...',
    }
  }
  if (Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535)
    return { mistake: 'must have a port from 1 to 65535' }
  const danger = star ? wildcardDanger(host) : undefined
  if (danger) return { mistake: danger }
  return `${scheme}://${star}${host}${port && port !== DEFAULT_PORTS[scheme] ? `:${Number(port)}` : ''}`
}

/** Suffixes under which anyone can have a name within a minute. */
const SHARED_HOSTING = new Set(
  [
    'vercel.app',
    'netlify.app',
    'pages.dev',
    'github.io',
    'herokuapp.com',
    'web.app',
    'onrender.com',
    'fly.dev',
  ]
    .concat([
      'workers.dev',
      'gitlab.io',
      'firebaseapp.com',
      'azurewebsites.net',
      'cloudfront.net',
      'surge.sh',
    ])
    .concat([
      'railway.app',
      'amplifyapp.com',
      'run.app',
      'ngrok.io',
      'ngrok.app',
      'ngrok-free.app',
      'deno.dev',
    ]),
)

function wildcardDanger(suffix: string): string | undefined {
  const labels = suffix.split('.')
  const [name = '', country = ''] = labels.slice(-2)
  const isRegistry =
    labels.length === 2 && country.length === 2 && /^(co|com|net|org|gov|edu|ac|or|ne)$/.test(name)
  if (labels.length < 2 || isRegistry || /^(\d+|.*\])$/.test(country || suffix)) {
    return 'opens a whole registry: put a domain of your own behind "*.", such as https://*.example.com'
  }
  if (SHARED_HOSTING.has(suffix)) {
    return `lets in the pages of everyone hosted on ${suffix}: name your project's own origins instead`
  }
  return undefined
}

/** What providers may be told of a client: whose request it is in the operator's traces, and by what it was sent. */
const FORWARDED = ['traceparent', 'tracestate', 'baggage', 'user-agent']

/** One header of a client's that providers may see. */
export function readForwardedHeader(entry: string): string | { mistake: string } {
  const name = entry.toLowerCase()
  return FORWARDED.includes(name) ? name : { mistake: `must be one of ${FORWARDED.join(', ')}` }
}
