import { isIPv4 } from 'node:net'

/** A base URL in the two halves that a request needs. */
export interface BaseUrl {
  origin: string
  basePath: string
}

/** Whether plain HTTP to another machine is allowed, or else the words that say how to allow it. */
export interface InsecureRule {
  insecure?: 'allowed' | (string & {})
}

/** Splits a base URL, or says what is wrong with it; the text never repeats the URL, which may hold a password. */
export function readBaseUrl(text: string, rule: InsecureRule = {}): BaseUrl | { mistake: string } {
  const url = URL.parse(text)
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    return { mistake: 'must be a URL such as https://api.example.com/v1' }
  }
  if (url.username || url.password) return { mistake: 'must not hold a user name or password' }
  if (/[?#]/.test(text)) return { mistake: 'must end with its path: no "?" and no "#"' }
  if (url.protocol === 'http:' && !isLoopback(url.hostname) && rule.insecure !== 'allowed') {
    const way = rule.insecure === undefined ? '' : `, or ${rule.insecure} if the network is really yours`
    return { mistake: `must start with https://: a key over plain HTTP can be read on the way${way}` }
  }
  return { origin: url.origin, basePath: url.pathname.replace(/\/+$/, '') }
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host.endsWith('.localhost') || host === '[::1]') return true
  return isIPv4(host) && host.startsWith('127.')
}
