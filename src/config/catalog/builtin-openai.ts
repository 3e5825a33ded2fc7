import { type Extra, PER_SECOND, type Row } from './builtin-rows.ts'

/** The maker first, then who resells it under the same name, then OpenRouter under its own. */
function openai(name: string, maxOutput: number, fallbacks: string[] = []): Row {
  return [
    name,
    {
      plan: [
        { provider: 'openai_original' },
        { provider: 'openai' },
        { provider: 'aiguoguo' },
        { provider: 'openrouter', model: `openai/${name}` },
      ],
      maxOutput,
      fallbacks,
    },
  ]
}

/** The smaller models that FREE_OPENAI resells too. */
function openaiFree(name: string, maxOutput: number, fallbacks: string[] = []): Row {
  const [, entry] = openai(name, maxOutput, fallbacks)
  return [name, { ...entry, plan: entry.plan.toSpliced(2, 0, { provider: 'free_openai' }) }]
}

/** What only OpenAI's own endpoints (and services that copy them) speak: audio, images, moderation. */
function openaiOnly(name: string, extra: Extra): Row {
  return [name, { plan: [{ provider: 'openai_original' }, { provider: 'openai' }], ...extra }]
}

const PER_CHARACTER = { price: { perCharacter: 0.5 } }
const PER_IMAGE = { price: { perImage: 4000 } }
const REALTIME = { maxOutput: 4_096 }

const OPENAI_CHAT: Row[] = [
  openai('gpt-6-astra', 128_000, ['gpt-6.1-sol']),
  openai('gpt-6.1-sol', 128_000, ['gpt-6-sol']),
  openai('gpt-6.1-terra', 128_000, ['gpt-5.6-terra']),
  openai('gpt-6-sol', 128_000, ['gpt-5.6-sol']),
  openai('gpt-6-luna', 128_000, ['gpt-5.6-luna']),
  openai('gpt-5.6-sol', 128_000, ['gpt-5.5']),
  openai('gpt-5.6-terra', 128_000, ['gpt-5.5']),
  openai('gpt-5.6-luna', 128_000, ['gpt-5.4-mini']),
  openai('gpt-5.5', 128_000, ['gpt-5.4']),
  openai('gpt-5.5-pro', 128_000),
  openai('gpt-5.4', 128_000, ['gpt-5.2']),
  openai('gpt-5.4-mini', 128_000, ['gpt-5-mini']),
  openai('gpt-5.4-nano', 128_000, ['gpt-5-nano']),
  openai('gpt-5.3-codex', 128_000, ['gpt-5.2']),
  openai('gpt-5.2', 128_000, ['gpt-5.1']),
  openai('gpt-5.1', 128_000, ['gpt-5']),
  openaiFree('gpt-5', 128_000, ['gpt-5-mini']),
  openaiFree('gpt-5-mini', 128_000, ['gpt-5-nano']),
  openaiFree('gpt-5-nano', 128_000),
  openaiFree('gpt-4.1', 32_768, ['gpt-4.1-mini']),
  openaiFree('gpt-4.1-mini', 32_768, ['gpt-4.1-nano']),
  openaiFree('gpt-4.1-nano', 32_768),
  openaiFree('gpt-4o', 16_384, ['gpt-4o-mini']),
  openaiFree('gpt-4o-mini', 16_384),
  openai('gpt-4-turbo', 4_096, ['gpt-4o']),
  openaiFree('gpt-3.5-turbo', 4_096, ['gpt-4o-mini']),
  openai('o1', 100_000, ['o3']),
  openai('o3', 100_000, ['o4-mini']),
  openai('o3-mini', 100_000, ['o4-mini']),
  openai('o4-mini', 100_000, ['o3-mini']),
]

const OPENAI_OTHER: Row[] = [
  openaiFree('text-embedding-3-small', 1),
  openaiFree('text-embedding-3-large', 1),
  openaiFree('text-embedding-ada-002', 1),
  openaiOnly('whisper-1', PER_SECOND),
  openaiOnly('gpt-4o-transcribe', { maxOutput: 16_384, fallbacks: ['gpt-4o-mini-transcribe'] }),
  openaiOnly('gpt-4o-mini-transcribe', { maxOutput: 16_384 }),
  openaiOnly('tts-1', PER_CHARACTER),
  openaiOnly('tts-1-hd', { ...PER_CHARACTER, fallbacks: ['tts-1'] }),
  openaiOnly('gpt-4o-mini-tts', PER_CHARACTER),
  openaiOnly('gpt-realtime', { ...REALTIME, fallbacks: ['gpt-realtime-mini'] }),
  openaiOnly('gpt-realtime-mini', REALTIME),
  openaiOnly('gpt-4o-realtime-preview', { ...REALTIME, fallbacks: ['gpt-realtime'] }),
  openaiOnly('gpt-4o-mini-realtime-preview', { ...REALTIME, fallbacks: ['gpt-realtime-mini'] }),
  openaiOnly('dall-e-2', PER_IMAGE),
  openaiOnly('dall-e-3', PER_IMAGE),
  openaiOnly('gpt-image-1', { ...PER_IMAGE, fallbacks: ['gpt-image-1-mini'] }),
  openaiOnly('gpt-image-1-mini', PER_IMAGE),
  openaiOnly('gpt-image-1.5', { ...PER_IMAGE, fallbacks: ['gpt-image-1'] }),
  openaiOnly('gpt-image-2', { ...PER_IMAGE, fallbacks: ['gpt-image-1.5'] }),
  openaiOnly('omni-moderation-latest', { price: { input: 0, output: 0 }, maxOutput: 1 }),
]

/** OpenAI's models, which others resell. */
export const OPENAI: readonly Row[] = [...OPENAI_CHAT, ...OPENAI_OTHER]
