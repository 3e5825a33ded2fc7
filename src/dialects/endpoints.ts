import { type DialectName, PAID_ENDPOINTS, type PaidEndpoint } from '../config/endpoints.ts'
import { anthropicCountTokens, anthropicMessages } from './anthropic-messages.ts'
import type { Dialect } from './dialect.ts'
import { openaiChat } from './openai-chat.ts'
import { openaiRealtime } from './openai-realtime.ts'
import { openaiInputTokens, openaiResponses } from './openai-responses.ts'
import {
  openaiEmbeddings,
  openaiImages,
  openaiRerank,
  openaiSpeech,
  openaiTranscription,
} from './openai-tasks.ts'

/** Every wire format by its name. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = {
  'openai-chat': openaiChat,
  'openai-responses': openaiResponses,
  'openai-input-tokens': openaiInputTokens,
  'openai-embeddings': openaiEmbeddings,
  'openai-rerank': openaiRerank,
  'openai-images': openaiImages,
  'openai-speech': openaiSpeech,
  'openai-transcription': openaiTranscription,
  'openai-realtime': openaiRealtime,
  'anthropic-messages': anthropicMessages,
  'anthropic-count-tokens': anthropicCountTokens,
}

/** One paid endpoint: where it is, what it takes, and what is spoken there. */
export interface Endpoint extends Omit<PaidEndpoint, 'dialect'> {
  dialect: Dialect
}

export const ENDPOINTS: readonly Endpoint[] = PAID_ENDPOINTS.map((endpoint) => ({
  ...endpoint,
  dialect: DIALECTS[endpoint.dialect],
}))
