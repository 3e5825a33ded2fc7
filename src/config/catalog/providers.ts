import { isIPv4 } from 'node:net'
import type { Dialect } from './catalog.ts'

/** A provider that needs nothing but its key: `<NAME>_API_KEY`, and `<NAME>_BASE_URL` where it moved. */
export interface KnownProvider {
  name: string
  keyVariable: string
  baseUrlVariable: string
  baseUrl: string
  dialects: readonly Dialect[]
  usageOption: boolean
  /** The path of a base URL that has none: the vendor's own SDK is configured by the bare origin. */
  pathIfNone: string
}

const known = (name: string, baseUrl: string, special: Partial<KnownProvider> = {}): KnownProvider => ({
  name,
  baseUrl,
  keyVariable: `${name.toUpperCase()}_API_KEY`,
  baseUrlVariable: `${name.toUpperCase()}_BASE_URL`,
  dialects: ['openai'],
  usageOption: true,
  pathIfNone: '',
  ...special,
})

/** They stand in the order of preference: the first one with a key serves the names that no catalog lists. */
export const KNOWN_PROVIDERS: readonly KnownProvider[] = [
  known('openai_original', 'https://api.openai.com/v1'),
  known('openai', 'https://api.openai.com/v1'),
  known('free_openai', 'https://api.chatanywhere.tech/v1', { keyVariable: 'FREE_OPENAI_KEY' }),
  known('aiguoguo', 'https://api.aiguoguo199.com/v1'),
  known('deepseek', 'https://api.deepseek.com/v1'),
  known('openrouter', 'https://openrouter.ai/api/v1'),
  // Anthropic also serves an OpenAI-compatible /v1/chat/completions.
  known('anthropic', 'https://api.anthropic.com/v1', {
    dialects: ['anthropic', 'openai'],
    pathIfNone: '/v1',
  }),
  known('gemini', 'https://generativelanguage.googleapis.com/v1beta/openai'),
  known('groq', 'https://api.groq.com/openai/v1'),
  // Mistral answers 422 to a stream_options it does not know.
  known('mistral', 'https://api.mistral.ai/v1', { usageOption: false }),
  known('xai', 'https://api.x.ai/v1'),
]

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
