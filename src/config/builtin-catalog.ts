import type { ModelEntry } from './models-schema.ts'

type Row = [name: string, entry: ModelEntry]
type Extra = Omit<ModelEntry, 'plan'>

/** The maker first, then who resells it under the same name, then OpenRouter under its own. */
const openai = (name: string, maxOutput: number, fallbacks: string[] = []): Row => [
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

/** The smaller models that FREE_OPENAI resells too. */
const openaiFree = (name: string, maxOutput: number, fallbacks: string[] = []): Row => {
  const [, entry] = openai(name, maxOutput, fallbacks)
  return [name, { ...entry, plan: entry.plan.toSpliced(2, 0, { provider: 'free_openai' }) }]
}

/** What only OpenAI's own endpoints (and services that copy them) speak: audio, images, moderation. */
const openaiOnly = (name: string, extra: Extra): Row => [
  name,
  { plan: [{ provider: 'openai_original' }, { provider: 'openai' }], ...extra },
]

interface Maker {
  provider: string
  /** What OpenRouter writes before the name. */
  router: string
}

const ANTHROPIC: Maker = { provider: 'anthropic', router: 'anthropic' }
const DEEPSEEK: Maker = { provider: 'deepseek', router: 'deepseek' }
const GEMINI: Maker = { provider: 'gemini', router: 'google' }
const MISTRAL: Maker = { provider: 'mistral', router: 'mistralai' }
const XAI: Maker = { provider: 'xai', router: 'x-ai' }

interface Made extends Extra {
  /** The maker's own name, where ours is an older one. */
  direct?: string
  /** OpenRouter's name, where it differs from ours. */
  routed?: string
}

const made = (maker: Maker, name: string, { direct, routed = name, ...extra }: Made): Row => [
  name,
  {
    plan: [
      direct === undefined ? { provider: maker.provider } : { provider: maker.provider, model: direct },
      { provider: 'openrouter', model: `${maker.router}/${routed}` },
    ],
    ...extra,
  },
]

const only = (provider: string, name: string, extra: Extra): Row => [name, { plan: [{ provider }], ...extra }]

const PER_SECOND = { price: { perSecond: 15 } }
const PER_CHARACTER = { price: { perCharacter: 0.5 } }
const PER_IMAGE = { price: { perImage: 4000 } }
const NO_OUTPUT = { maxOutput: 1 }
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
  openaiOnly('omni-moderation-latest', { price: { input: 0, output: 0 }, ...NO_OUTPUT }),
]

/** Anthropic writes versions with "-", OpenRouter with ".". */
const claude = (kind: string, version: string, more: Extra): Row =>
  made(ANTHROPIC, `claude-${kind}-${version.replace('.', '-')}`, {
    routed: `claude-${kind}-${version}`,
    ...more,
  })

const CLAUDE: Row[] = [
  claude('fable', '5.2', { maxOutput: 128_000, fallbacks: ['claude-fable-5-1'] }),
  claude('fable', '5.1', { maxOutput: 128_000, fallbacks: ['claude-fable-5'] }),
  claude('fable', '5', { maxOutput: 128_000 }),
  claude('opus', '5.5', { maxOutput: 128_000, fallbacks: ['claude-opus-5'] }),
  claude('opus', '5', { maxOutput: 128_000, fallbacks: ['claude-opus-4-8'] }),
  claude('opus', '4.8', { maxOutput: 128_000, fallbacks: ['claude-opus-4-7'] }),
  claude('opus', '4.7', { maxOutput: 128_000, fallbacks: ['claude-opus-4-6'] }),
  claude('opus', '4.6', { maxOutput: 128_000, fallbacks: ['claude-opus-4-5'] }),
  claude('opus', '4.5', { maxOutput: 64_000 }),
  claude('sonnet', '5.5', { maxOutput: 128_000, fallbacks: ['claude-sonnet-5'] }),
  claude('sonnet', '5', { maxOutput: 128_000, fallbacks: ['claude-sonnet-4-6'] }),
  claude('sonnet', '4.6', { maxOutput: 128_000, fallbacks: ['claude-sonnet-4-5'] }),
  claude('sonnet', '4.5', { maxOutput: 64_000 }),
  claude('haiku', '5.5', { maxOutput: 128_000, fallbacks: ['claude-haiku-4-5'] }),
  claude('haiku', '4.5', { maxOutput: 64_000 }),
]

const FLASH = { direct: 'deepseek-flash', routed: 'deepseek-v4.1-flash', maxOutput: 384_000 }

const OTHERS: Row[] = [
  made(DEEPSEEK, 'deepseek-flash', { routed: 'deepseek-v4.1-flash', maxOutput: 384_000 }),
  made(DEEPSEEK, 'deepseek-v4-pro', { maxOutput: 384_000, fallbacks: ['deepseek-flash'] }),
  // Names that DeepSeek retired: clients still send them.
  made(DEEPSEEK, 'deepseek-v4-flash', FLASH),
  made(DEEPSEEK, 'deepseek-chat', FLASH),
  made(DEEPSEEK, 'deepseek-reasoner', FLASH),
  made(GEMINI, 'gemini-4-argon', { maxOutput: 65_536, fallbacks: ['gemini-3.1-pro-preview'] }),
  made(GEMINI, 'gemini-3.8-flash', { maxOutput: 65_536, fallbacks: ['gemini-3.7-flash'] }),
  made(GEMINI, 'gemini-3.7-flash', { maxOutput: 65_536, fallbacks: ['gemini-3.6-flash'] }),
  made(GEMINI, 'gemini-3.6-flash', { maxOutput: 65_536, fallbacks: ['gemini-3.5-flash'] }),
  made(GEMINI, 'gemini-3.5-flash', { maxOutput: 65_536, fallbacks: ['gemini-2.5-flash'] }),
  made(GEMINI, 'gemini-3.5-flash-lite', { maxOutput: 65_536, fallbacks: ['gemini-3.1-flash-lite'] }),
  made(GEMINI, 'gemini-3.1-pro-preview', { maxOutput: 65_536, fallbacks: ['gemini-2.5-pro'] }),
  made(GEMINI, 'gemini-3.1-flash-lite', { maxOutput: 65_536, fallbacks: ['gemini-2.5-flash-lite'] }),
  made(GEMINI, 'gemini-3-flash-preview', { maxOutput: 65_536, fallbacks: ['gemini-2.5-flash'] }),
  made(GEMINI, 'gemini-2.5-pro', { maxOutput: 65_536 }),
  made(GEMINI, 'gemini-2.5-flash', { maxOutput: 65_536 }),
  made(GEMINI, 'gemini-2.5-flash-lite', { maxOutput: 65_536 }),
  made(GEMINI, 'gemini-embedding-001', NO_OUTPUT),
  made(XAI, 'grok-4.7', { maxOutput: 131_072, fallbacks: ['grok-4.6'] }),
  made(XAI, 'grok-4.6', { maxOutput: 131_072, fallbacks: ['grok-4.3'] }),
  made(XAI, 'grok-4.3', { maxOutput: 131_072, fallbacks: ['grok-4'] }),
  made(XAI, 'grok-4', { maxOutput: 131_072 }),
  made(XAI, 'grok-4-fast', { maxOutput: 131_072 }),
  made(XAI, 'grok-code-fast-1', { maxOutput: 131_072 }),
  made(XAI, 'grok-3', { maxOutput: 131_072 }),
  made(XAI, 'grok-3-mini', { maxOutput: 131_072 }),
  made(MISTRAL, 'mistral-large-latest', { routed: 'mistral-large', maxOutput: 131_072 }),
  made(MISTRAL, 'mistral-medium-latest', { routed: 'mistral-medium-3.5', maxOutput: 131_072 }),
  made(MISTRAL, 'mistral-small-latest', { routed: 'mistral-small', maxOutput: 131_072 }),
  made(MISTRAL, 'codestral-latest', { routed: 'codestral', maxOutput: 131_072 }),
  made(MISTRAL, 'ministral-8b-latest', { routed: 'ministral-8b', maxOutput: 131_072 }),
  only('mistral', 'magistral-medium-latest', { maxOutput: 131_072 }),
  only('mistral', 'devstral-medium-latest', { maxOutput: 131_072 }),
  only('mistral', 'mistral-embed', NO_OUTPUT),
  made({ provider: 'groq', router: 'meta-llama' }, 'llama-3.3-70b-versatile', {
    routed: 'llama-3.3-70b-instruct',
    maxOutput: 32_768,
  }),
  made({ provider: 'groq', router: 'meta-llama' }, 'llama-3.1-8b-instant', {
    routed: 'llama-3.1-8b-instruct',
    maxOutput: 131_072,
  }),
  ...['openai/gpt-oss-120b', 'openai/gpt-oss-20b'].map(
    (name): Row => [name, { plan: [{ provider: 'groq' }, { provider: 'openrouter' }], maxOutput: 65_536 }],
  ),
  only('groq', 'whisper-large-v3-turbo', { ...PER_SECOND, fallbacks: ['whisper-large-v3'] }),
  only('groq', 'whisper-large-v3', PER_SECOND),
]

/** The models of a deployment without a models file, for every provider that may have a key. */
export const BUILTIN_MODELS: readonly Row[] = [...OPENAI_CHAT, ...OPENAI_OTHER, ...CLAUDE, ...OTHERS]
