import { readBaseUrl } from './providers.ts'

/** A path that goes out unmetered, with all below it: to a provider, to a URL, or to the first provider. */
export interface Passthrough {
  prefix: string
  provider?: string
  url?: string
}

/** Paths of the gateway whose every sub-path is its own too. */
const OWN_TREES = ['/health', '/ready', '/metrics', '/admin', '/v1/models', '/v1/token', '/v1/realtime']

/** Paths that are paid for; their sub-paths (`/v1/messages/batches`) may be passed through. */
const PAID = ['chat/completions', 'completions', 'responses', 'embeddings', 'moderations']
  .concat(['images/generations', 'images/edits', 'images/variations'])
  .concat(['audio/speech', 'audio/transcriptions', 'audio/translations'])
  .concat(['rerank', 'messages', 'messages/count_tokens'])
  .map((path) => `/v1/${path}`)

/** One `path`, `path=provider` or `path=https://url` of PASSTHROUGH_PATHS. */
export function readPassthrough(entry: string): Passthrough | { mistake: string } {
  const equals = entry.indexOf('=')
  const path = equals < 0 ? entry : entry.slice(0, equals).trim()
  const prefix = path.replace(/\/$/, '')
  const mistake = findPathMistake(prefix)
  if (mistake) return { mistake }
  if (equals < 0) return { prefix }
  return readTarget(prefix, entry.slice(equals + 1).trim())
}

/** What is wrong with a public path that leads to another server. */
export function findPathMistake(prefix: string): string | undefined {
  if (!/^(\/[A-Za-z0-9._~-]+)+$/.test(prefix) || /(^|\/)\.{1,2}(\/|$)/.test(prefix)) {
    return 'must begin with a plain path such as /v1/files: no wildcard, no "..", no query'
  }
  const asked = prefix.toLowerCase()
  const isOwn = OWN_TREES.some((path) => asked === path || asked.startsWith(`${path}/`))
  const isPaid = PAID.includes(asked)
  // A prefix above a paid path would serve it for free.
  const isAbove = [...OWN_TREES, ...PAID].some((path) => path.startsWith(`${asked}/`))
  if (!isOwn && !isPaid && !isAbove) return undefined
  return `covers a path that the gateway answers or charges itself: name a path beside those, such as /v1/files`
}

function readTarget(prefix: string, text: string): Passthrough | { mistake: string } {
  if (/^[a-z][a-z0-9_-]*$/.test(text)) return { prefix, provider: text }
  const isMarked = text.endsWith('!insecure')
  const url = readBaseUrl(isMarked ? text.slice(0, -'!insecure'.length) : text, {
    insecure: isMarked ? 'allowed' : 'end the entry in "!insecure"',
  })
  if ('mistake' in url)
    return { mistake: `(${prefix}) must name a provider or a URL; the URL ${url.mistake}` }
  return { prefix, url: url.origin + url.basePath }
}
