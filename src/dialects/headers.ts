import type { IncomingHttpHeaders } from 'node:http'
import type { Provider } from '../config/catalog/catalog.ts'
import type { Dialect } from './dialect.ts'

/** What of a client's request a provider may see. Credentials, cookies and addresses are not on the list. */
const UPWARD = ['accept', 'openai-beta', 'anthropic-beta'] as const
/** What of a provider's answer a client may see. Account names and the account's own limits are not on the list. */
const DOWNWARD = [
  'content-type',
  'content-encoding',
  'content-language',
  'content-disposition',
  'openai-processing-ms',
  'openai-version',
  'openai-model',
] as const

/** Flat name-value list for a provider: from zero at every attempt, so that no key meets another origin. */
export type UpstreamHeaders = (
  client: IncomingHttpHeaders,
  provider: Pick<Provider, 'key'>,
  dialect: Pick<Dialect, 'authorize'>,
) => string[]

/** `forwarded`: what else of a client's request the operator lets providers see. */
export function createUpstreamHeaders(forwarded: readonly string[]): UpstreamHeaders {
  const names = [...UPWARD, ...forwarded.filter((name) => name !== 'user-agent')]
  const passesAgent = forwarded.includes('user-agent')
  return (client, provider, dialect) => {
    const agent = (passesAgent && client['user-agent']) || 'llm-api-gateway'
    const headers = ['accept-encoding', 'identity', 'user-agent', agent]
    const contentType = client['content-type']
    if (contentType) headers.push('content-type', contentType)
    for (const name of names) {
      const value = client[name]
      if (typeof value === 'string') headers.push(name, value)
    }
    dialect.authorize(headers, client, provider.key)
    return headers
  }
}

/** The client's query as it was sent, its "?" included: no credential is in it (`entrance/arrival.ts`). */
export function upstreamQuery(url: string): string {
  return /\?[^#]*/.exec(url)?.[0] ?? ''
}

/** Copies what a client may see of a provider's answer onto `target`. */
export function copyDownward(
  answer: Readonly<{ [name: string]: string | string[] | undefined }>,
  target: { [name: string]: unknown },
): void {
  for (const name of DOWNWARD) {
    const value = answer[name]
    if (value !== undefined) target[name] = value
  }
}
