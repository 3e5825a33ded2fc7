import type { IncomingHttpHeaders } from 'node:http'
import { PASSED_FIELDS } from '../answer-fields.ts'
import type { Provider } from '../config/catalog/catalog.ts'
import { anthropicMessages } from './anthropic-messages.ts'
import type { Dialect } from './dialect.ts'
import { openaiChat } from './openai-chat.ts'

/** What of a client's request a provider may see. Credentials, cookies and addresses are not on the list. */
const UPWARD = ['accept', 'openai-beta', 'anthropic-beta'] as const

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
  for (const name of PASSED_FIELDS) {
    const value = answer[name]
    if (value !== undefined) target[name] = value
  }
}

/** What the clients of a URL speak, as far as its path says: in this dialect errors are written. */
export function dialectOfUrl(url: string): Dialect {
  return /^\/v1\/messages(?:[/?]|$)/.test(url) ? anthropicMessages : openaiChat
}

/** What a client speaks, as far as its headers say. */
export function dialectOfHeaders(headers: IncomingHttpHeaders): Dialect {
  return headers['anthropic-version'] === undefined ? openaiChat : anthropicMessages
}

/** In what a request is handed on that is no endpoint of ours. */
export function dialectOfProvider(provider: Pick<Provider, 'dialects'>): Dialect {
  return openaiChat.isSpokenBy(provider) ? openaiChat : anthropicMessages
}
