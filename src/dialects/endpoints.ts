import type { Dialect } from '../config/catalog/catalog.ts'
import type { UsageKind } from '../metering/usage-kinds.ts'

/** One paid endpoint: what it takes, what it speaks and how it is counted. */
export interface Endpoint {
  /** It follows `/v1` here and the provider's base URL there. */
  path: string
  dialect: Dialect
  kind: UsageKind
  takes: 'json' | 'multipart' | 'either'
  /** Whether a stream must be asked for its usage by `stream_options`. */
  asksForUsage: boolean
  /** How an error looks after the first byte. */
  errorEvents: 'openai' | 'responses' | 'anthropic'
}

const json = (path: string, kind: UsageKind, rest: Partial<Endpoint> = {}): Endpoint => ({
  path,
  kind,
  dialect: 'openai',
  takes: 'json',
  asksForUsage: false,
  errorEvents: 'openai',
  ...rest,
})

/** Everything that costs; any other path below `/v1` is not there (shared accounts would leak between tenants). */
export const ENDPOINTS: readonly Endpoint[] = [
  json('/chat/completions', 'chat', { asksForUsage: true }),
  json('/completions', 'chat', { asksForUsage: true }),
  json('/responses', 'responses', { errorEvents: 'responses' }),
  json('/embeddings', 'embeddings'),
  json('/moderations', 'embeddings'),
  json('/rerank', 'rerank'),
  json('/images/generations', 'images'),
  json('/images/edits', 'images', { takes: 'either' }),
  json('/images/variations', 'images', { takes: 'multipart' }),
  json('/audio/speech', 'speech'),
  json('/audio/transcriptions', 'transcription', { takes: 'multipart' }),
  json('/audio/translations', 'transcription', { takes: 'multipart' }),
  json('/messages', 'messages', { dialect: 'anthropic', errorEvents: 'anthropic' }),
  json('/messages/count_tokens', 'free', { dialect: 'anthropic', errorEvents: 'anthropic' }),
]
