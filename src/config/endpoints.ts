/** A wire format: what is asked and answered at an endpoint; `dialects/` knows what each of them says. */
export type DialectName =
  | 'openai-chat'
  | 'openai-responses'
  | 'openai-input-tokens'
  | 'openai-embeddings'
  | 'openai-rerank'
  | 'openai-images'
  | 'openai-speech'
  | 'openai-transcription'
  | 'openai-realtime'
  | 'anthropic-messages'
  | 'anthropic-count-tokens'

/** One endpoint whose requests are paid for. */
export interface PaidEndpoint {
  /** It follows `/v1` here and the provider's base URL there. */
  path: string
  dialect: DialectName
  takes: 'json' | 'multipart' | 'either'
  /** The model of a request that names none, as at OpenAI. */
  usualModel?: string
}

/**
 * Everything that costs; any other path below `/v1` is not there (shared accounts would leak between tenants). The table
 * stands below all rooms, for the settings must know which paths may not be handed out unpaid.
 */
export const PAID_ENDPOINTS: readonly PaidEndpoint[] = [
  { path: '/chat/completions', dialect: 'openai-chat', takes: 'json' },
  { path: '/completions', dialect: 'openai-chat', takes: 'json' },
  { path: '/responses', dialect: 'openai-responses', takes: 'json' },
  { path: '/responses/input_tokens', dialect: 'openai-input-tokens', takes: 'json' },
  { path: '/embeddings', dialect: 'openai-embeddings', takes: 'json' },
  {
    path: '/moderations',
    dialect: 'openai-embeddings',
    takes: 'json',
    usualModel: 'omni-moderation-latest',
  },
  { path: '/rerank', dialect: 'openai-rerank', takes: 'json' },
  { path: '/images/generations', dialect: 'openai-images', takes: 'json', usualModel: 'dall-e-2' },
  { path: '/images/edits', dialect: 'openai-images', takes: 'either', usualModel: 'gpt-image-1.5' },
  { path: '/images/variations', dialect: 'openai-images', takes: 'multipart', usualModel: 'dall-e-2' },
  { path: '/audio/speech', dialect: 'openai-speech', takes: 'json' },
  { path: '/audio/transcriptions', dialect: 'openai-transcription', takes: 'multipart' },
  { path: '/audio/translations', dialect: 'openai-transcription', takes: 'multipart' },
  { path: '/messages', dialect: 'anthropic-messages', takes: 'json' },
  { path: '/messages/count_tokens', dialect: 'anthropic-count-tokens', takes: 'json' },
]
