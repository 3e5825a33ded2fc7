import { OPENAI } from './builtin-openai.ts'
import { type Extra, type Maker, made, only, PER_SECOND, type Row } from './builtin-rows.ts'

const ANTHROPIC: Maker = { provider: 'anthropic', router: 'anthropic' }
const DEEPSEEK: Maker = { provider: 'deepseek', router: 'deepseek' }
const GEMINI: Maker = { provider: 'gemini', router: 'google' }
const MISTRAL: Maker = { provider: 'mistral', router: 'mistralai' }
const XAI: Maker = { provider: 'xai', router: 'x-ai' }

const NO_OUTPUT = { maxOutput: 1 }

/** Anthropic writes versions with "-", OpenRouter with ".". */
function claude(kind: string, version: string, more: Extra): Row {
  return made(ANTHROPIC, `claude-${kind}-${version.replace('.', '-')}`, {
    routed: `claude-${kind}-${version}`,
    ...more,
  })
}

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
export const BUILTIN_MODELS: readonly Row[] = [...OPENAI, ...CLAUDE, ...OTHERS]
