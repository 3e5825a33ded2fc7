import { PAID_ENDPOINTS } from './endpoints.ts'

/** Paths of the gateway whose every sub-path is its own too. */
const OWN_TREES = ['/health', '/ready', '/metrics', '/admin', '/v1/models', '/v1/token', '/v1/realtime']

/** Paths that are paid for; their sub-paths (`/v1/messages/batches`) may be passed through. */
const PAID = PAID_ENDPOINTS.map(({ path }) => `/v1${path}`)

/** What is wrong with a public path that is to lead to somebody else; undefined: nothing. */
export function findPathMistake(prefix: string): string | undefined {
  if (!/^(\/[A-Za-z0-9._~-]+)+$/.test(prefix) || /(^|\/)\.{1,2}(\/|$)/.test(prefix)) {
    return `must begin with a plain path such as /v1/files: no wildcard, no "..", no query${hintOf(prefix)}`
  }
  const asked = prefix.toLowerCase()
  const isOwn = OWN_TREES.some((path) => asked === path || asked.startsWith(`${path}/`))
  const isPaid = PAID.includes(asked)
  // A prefix above a paid path would serve it for free.
  const isAbove = [...OWN_TREES, ...PAID].some((path) => path.startsWith(`${asked}/`))
  if (!isOwn && !isPaid && !isAbove) return undefined
  return `covers a path that the gateway answers or charges itself: name a path beside those, such as /v1/files`
}

/** What stands before the name of an endpoint: in our addresses, or as clients and providers write it. */
const BEFORE_ENDPOINTS = /^(?:\/(?:v1|openai|anthropic))+(?=\/|$)/

/** The same of a path that a provider answers: `/chat` is below its base URL what `/v1/chat` is, and as little to be had unpaid. */
export function findProviderPathMistake(prefix: string): string | undefined {
  return findPathMistake(`/v1${prefix.toLowerCase().replace(BEFORE_ENDPOINTS, '')}`)
}

/** What others write behind a path that covers all below it, and where they mean all there is. */
function hintOf(prefix: string): string {
  if (prefix === '') return '; "/" would cover the paths of the gateway itself'
  const [, path] = /^(\/[\w./~-]*?)\/(\*+|\{[\w+*]+\}|:\w+\*?|\(\.\*\))$/.exec(prefix) ?? []
  return path ? `; write ${path}, which covers all below it` : ''
}

/** Whether a path is the prefix's own or one below it. */
export function isBelow(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/')
}
