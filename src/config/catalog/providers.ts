import type { ApiName } from './catalog.ts'

/** A provider that needs nothing but its key: `<NAME>_API_KEY`, and `<NAME>_BASE_URL` where it moved. */
export interface KnownProvider {
  name: string
  keyVariable: string
  baseUrlVariable: string
  baseUrl: string
  dialects: readonly ApiName[]
  usageOption: boolean
  /** The path of a base URL that has none: the vendor's own SDK is configured by the bare origin. */
  pathIfNone: string
}

function known(name: string, baseUrl: string, special: Partial<KnownProvider> = {}): KnownProvider {
  return {
    name,
    baseUrl,
    keyVariable: `${name.toUpperCase()}_API_KEY`,
    baseUrlVariable: `${name.toUpperCase()}_BASE_URL`,
    dialects: ['openai'],
    usageOption: true,
    pathIfNone: '',
    ...special,
  }
}

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

/** Whether its key is a setting, and its address too. */
export function isKnownProvider(name: string): boolean {
  return KNOWN_PROVIDERS.some((row) => row.name === name)
}
