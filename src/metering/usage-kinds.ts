/** Which usage report an endpoint's answer carries, and what its price counts. */
export type UsageKind =
  | 'chat'
  | 'responses'
  | 'messages'
  | 'embeddings'
  | 'rerank'
  | 'speech'
  | 'transcription'
  | 'images'
  | 'realtime'
  | 'free'

/** A provider's own count of what one request used, in our words. */
export interface Usage {
  /** All input, the cached part included. */
  inputTokens: number
  cachedTokens: number
  /** All output, the reasoning part included. */
  outputTokens: number
  reasoningTokens: number
  seconds: number
  characters: number
  images: number
  /** True where we counted because the provider reported nothing. */
  estimated: boolean
}

export const NO_USAGE: Usage = {
  inputTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
  reasoningTokens: 0,
  seconds: 0,
  characters: 0,
  images: 0,
  estimated: false,
}
