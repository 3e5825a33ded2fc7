import { PAID_ENDPOINTS } from '../config/endpoints.ts'
import { suggest } from '../config/suggest.ts'

/** What stands below `/v1`, and how it is asked. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ...PAID_ENDPOINTS.map(({ path }) => [path, 'POST'] as const),
  ['/models', 'GET'],
  ['/token', 'GET'],
  ['/realtime', 'a WebSocket'],
])

/** What is told to anybody: that there are metrics is nobody's business but an admin's. */
const TOLD_URLS = [...Array.from(METHODS.keys(), (path) => `/v1${path}`), '/health', '/ready']
/** URLs that are right as they are: nearly every request's. */
export const RIGHT_URLS: ReadonlySet<string> = new Set([...TOLD_URLS, '/metrics'])

/** Azure's clients put the model into the path. */
const DEPLOYMENT = /^\/+openai\/+deployments\/+([^/?]+)(\/[^?]*)/
const AZURE_VERSION = /(?<=[?&])api-version=[^&]*(?:&|$)/
/** Nobody misspells a longer one: to compare it would be a scanner's pleasure. */
const MOST_NEAR = 48

/**
 * The URL that a client means whose base URL has a `/v1` too few or too many, a vendor's prefix, or slashes too many.
 * Only whole paths of ours come out of it, never one of an operator's: `isTaken` says which are theirs.
 */
export function findAddress(url: string): string {
  const start = url.indexOf('?')
  const path = start === -1 ? url : url.slice(0, start)
  const query = start === -1 ? '' : url.slice(start)
  const deployed = DEPLOYMENT.exec(path)?.[2]
  const known = findKnown(deployed ?? path)
  if (known === undefined || `/v1${known}` === path) return url
  return `/v1${known}${deployed === undefined ? query : query.replace(AZURE_VERSION, '').replace(/[?&]$/, '')}`
}

/** The model that an Azure client named in its path; undefined: it named none. */
export function findDeployment(url: string): string | undefined {
  const name = DEPLOYMENT.exec(url)?.[1]
  try {
    return name && decodeURIComponent(name)
  } catch {
    // Nobody serves that; to leave it out would be to choose another one.
    return name
  }
}

/** What is meant of all that stands below `/v1`. */
function findKnown(path: string): string | undefined {
  const rest = trimPath(path).replace(/^(?:\/v1)+(?=\/)/, '')
  return METHODS.has(rest) || /^\/models\/./.test(rest) ? rest : undefined
}

/** Without a vendor's prefix, and with one slash between two names. */
function trimPath(path: string): string {
  const plain = path.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
  return plain.replace(/^\/(?:openai|anthropic)(?=\/)/, '')
}

/** What to do for somebody who asks for what is not here. */
export function explainMissing(method: string, url: string): string {
  const [path = ''] = url.split('?', 1)
  const known = findKnown(path)
  if (known !== undefined)
    return `Ask for /v1${known} with ${METHODS.get(known) ?? 'GET'}, not with ${method}.`
  const trimmed = trimPath(path)
  const rest = /^(?:\/v1){2,}(\/.*)$/.exec(trimmed)?.[1]
  if (rest !== undefined)
    return `There is one "/v1" too many in the path: use /v1${rest.slice(0, 200)}. ${BASE}`
  // The longest: "/chat/completions" ends in "/completions".
  const tail = [...METHODS.keys()]
    .filter((each) => trimmed.endsWith(each))
    .sort((one, other) => other.length - one.length)[0]
  if (tail !== undefined) return `There is no such path: use /v1${tail}. ${BASE}`
  const near = trimmed.length > MOST_NEAR ? '' : suggest(trimmed, TOLD_URLS)
  return `No such path or method here${near}. docs/client-api.md lists those there are.`
}

const BASE = 'The base URL of a client ends in "/v1", that of an Anthropic client before it.'
