import t from 'tap'
import type { Catalog } from '../../src/config/catalog/catalog.ts'
import { buildCatalog } from '../../src/config/catalog/models-file.ts'
import { readSettings } from '../../src/config/env/settings.ts'

const build = (env: Record<string, string>, text?: string) =>
  buildCatalog({ settings: readSettings(env), text })
const FILE_KEY = { OPENAI_API_KEY: 'sk-1' }

/** The entry that serves a name, and what its providers are asked for. */
function servedBy(catalog: Catalog, name: string): string | undefined {
  const model = catalog.find(name)
  return model && [model.name, ...stepsOf(catalog, name)].join(' ')
}
function stepsOf(catalog: Catalog, name: string): string[] {
  return (catalog.find(name)?.plan ?? []).map(
    ({ provider, model }) => `${provider.name.replace('openai_original', 'oai')}=${model ?? name}`,
  )
}

t.test(
  'a dated name goes to the listed model under its own name, a -latest one under the listed',
  async (t) => {
    const catalog = build(
      FILE_KEY,
      `models:
  gpt-4o: { plan: [{ provider: openai }], price: { input: 7 } }
  gpt-4o-2024-05-13: { plan: [{ provider: openai }], price: { input: 9 } }
  mistral-large-latest: { plan: [{ provider: openai }] }
  renamed: { plan: [{ provider: openai, model: own }] }
  "*": { plan: [{ provider: openai }] }`,
    )
    const table: [string, string | undefined][] = [
      ['gpt-4o-2024-08-06', 'gpt-4o openai=gpt-4o-2024-08-06'],
      ['gpt-4o-20240806', 'gpt-4o openai=gpt-4o-20240806'],
      ['gpt-4o@20240806', 'gpt-4o openai=gpt-4o@20240806'],
      ['gpt-4o-0806', 'gpt-4o openai=gpt-4o-0806'],
      ['gpt-4o-preview-05-20', 'gpt-4o openai=gpt-4o-preview-05-20'],
      ['gpt-4o-2024-05-13', 'gpt-4o-2024-05-13 openai=gpt-4o-2024-05-13'],
      ['gpt-4o-latest', 'gpt-4o openai=gpt-4o'],
      ['gpt-4o:latest', undefined],
      ['mistral-large', 'mistral-large-latest openai=mistral-large-latest'],
      ['mistral-large-2411', 'mistral-large-latest openai=mistral-large-2411'],
      ['renamed-20240101', 'renamed openai=own'],
      ['gpt-4o-audio', '* openai=gpt-4o-audio'],
      ['gpt-4o-2024-13-06', '* openai=gpt-4o-2024-13-06'],
      ['gpt-4o-9999', '* openai=gpt-4o-9999'],
      ['GPT-4o-2024-08-06', undefined],
      ['GPT-4o', undefined],
      ['gpt-4o:nitro', undefined],
    ]
    for (const [name, served] of table) t.equal(servedBy(catalog, name), served, name)
    t.equal(catalog.find('gpt-4o-2024-08-06')?.price.inputMicros, 7e6)
  },
)

t.test('the longest pattern serves a name that is not listed, at its own price', async (t) => {
  const catalog = build(
    { ...FILE_KEY, OPENROUTER_API_KEY: 'sk-2' },
    `models:
  claude-sonnet-5: { plan: [{ provider: openai }], price: { input: 9 } }
  "claude-*": { plan: [{ provider: openrouter, model: "anthropic/claude-*" }], price: { input: 3 }, maxOutput: 77 }
  "claude-haiku-*": { plan: [{ provider: openai, model: cheap }], price: { input: 2 } }
  "claude-sonnet-5-2026*": { plan: [{ provider: openai }], price: { input: 4 } }
  "*-mini": { plan: [{ provider: openai, model: "small-*-x" }] }
  "*": { plan: [{ provider: openai }] }`,
  )
  const table: [string, string | undefined][] = [
    ['claude-sonnet-5', 'claude-sonnet-5 openai=claude-sonnet-5'],
    ['claude-sonnet-5-20250929', 'claude-sonnet-5 openai=claude-sonnet-5-20250929'],
    ['claude-sonnet-5-20260929', 'claude-sonnet-5-2026* openai=claude-sonnet-5-20260929'],
    ['claude-opus-9', 'claude-* openrouter=anthropic/claude-opus-9'],
    ['claude-$&', 'claude-* openrouter=anthropic/claude-$&'],
    ['claude-haiku-9', 'claude-haiku-* openai=cheap'],
    ['gpt-9-mini', '*-mini openai=small-gpt-9-x'],
    ['gpt-9', '* openai=gpt-9'],
    ['CLAUDE-opus-9', undefined],
    ['Claude-Haiku-9', undefined],
    ['claude-sonnet-5:nitro', undefined],
  ]
  for (const [name, served] of table) t.equal(servedBy(catalog, name), served, name)
  t.match(catalog.find('claude-opus-9'), { price: { inputMicros: 3e6 }, maxOutput: 77 })
  t.same([...catalog.models.keys()], ['claude-sonnet-5'], 'patterns are not listed')
  t.equal(catalog.find('claude-opus-9'), catalog.find('claude-opus-9'), 'what was found is remembered')
})

t.test('a provider’s name for a dear model is not had at the price of a pattern', async (t) => {
  const catalog = build(
    FILE_KEY,
    `models:
  dear: { plan: [{ provider: openai, model: up-dear }], price: { input: 9 } }
  "up-*": { plan: [{ provider: openai }], price: { input: 1 } }`,
  )
  for (const name of ['up-dear', 'up-dear:nitro', 'up-dear-latest', 'up-dear-20240806'])
    t.equal(servedBy(catalog, name), undefined, name)
  t.equal(servedBy(catalog, 'up-other'), 'up-* openai=up-other')
  t.equal(servedBy(catalog, 'other'), undefined)
})

t.test('nor is it by the star of a pattern', async (t) => {
  const catalog = build(
    { ...FILE_KEY, OPENROUTER_API_KEY: 'sk-2' },
    `models:
  dear: { plan: [{ provider: openai }], price: { input: 9 } }
  cheap: { plan: [{ provider: openai }], price: { input: 1 } }
  claude-x: { plan: [{ provider: openrouter, model: anthropic/claude-x }], price: { input: 9 } }
  "openai/*": { plan: [{ provider: openai, model: "*" }], price: { input: 1 } }
  "*-fast": { plan: [{ provider: openai, model: "*" }], price: { input: 1 } }
  "claude-x-2026*": { plan: [{ provider: openrouter, model: "anthropic/claude-x-2026*" }], price: { input: 2 } }
  "c-*": { plan: [{ provider: openrouter, model: "anthropic/claude-*" }, { provider: openai, model: dear }] }`,
  )
  const table: [string, string | undefined][] = [
    ['openai/dear', undefined],
    ['openai/DEAR', undefined],
    ['openai/dear-20240806', undefined],
    ['openai/dear:free', undefined],
    ['dear-fast', undefined],
    ['c-x', undefined],
    ['openai/cheap', 'openai/* openai=cheap'],
    ['openai/other', 'openai/* openai=other'],
    ['c-y', 'c-* openrouter=anthropic/claude-y openai=dear'],
    ['claude-x-20260101', 'claude-x-2026* openrouter=anthropic/claude-x-20260101'],
  ]
  for (const [name, served] of table) t.equal(servedBy(catalog, name), served, name)
})

const EVERYBODY = {
  OPENAI_ORIGINAL_API_KEY: 'k',
  DEEPSEEK_API_KEY: 'k',
  OPENROUTER_API_KEY: 'k',
  ANTHROPIC_API_KEY: 'k',
  GEMINI_API_KEY: 'k',
  GROQ_API_KEY: 'k',
  MISTRAL_API_KEY: 'k',
  XAI_API_KEY: 'k',
}

t.test('no version of what looks listed is had at the wildcard’s price', async (t) => {
  const catalog = build(
    FILE_KEY,
    `models:
  dear: { plan: [{ provider: openai, model: up-dear }], price: { input: 9 } }
  old: { plan: [{ provider: openai, model: up-old-latest }], price: { input: 9 } }
  "*": { plan: [{ provider: openai }], price: { input: 1 } }`,
  )
  for (const name of ['up-dear-latest', 'up-dear-2024-08-06', 'Dear-latest', 'up-old', 'up-old-20240806'])
    t.equal(servedBy(catalog, name), undefined, name)
  for (const name of [
    'dear-2024-08-06:free',
    'dear-20240806:free:nitro',
    'DEAR-LATEST',
    'Dear-Preview-05-20',
    'dear-latest-latest',
    'dear-latest:online',
    'dear-20240806-latest',
    'up-dear-2024-08-06:online',
    'models/dear-20240806',
    'Old-20240806:floor',
    'up-old:free',
  ])
    t.equal(servedBy(catalog, name), undefined, name)
  t.equal(servedBy(catalog, 'up-other-latest'), '* openai=up-other-latest')
  t.equal(servedBy(catalog, 'up-other-20240806:free'), '* openai=up-other-20240806:free')
})

t.test('without a file a name that is not listed goes to its maker, then to OpenRouter', async (t) => {
  const catalog = build(EVERYBODY)
  const table: [string, string[]][] = [
    ['claude-opus-9', ['anthropic=claude-opus-9', 'openrouter=anthropic/claude-opus-9']],
    ['claude-opus-9-1', ['anthropic=claude-opus-9-1', 'openrouter=anthropic/claude-opus-9.1']],
    [
      'claude-3-7-sonnet-20250219',
      ['anthropic=claude-3-7-sonnet-20250219', 'openrouter=anthropic/claude-3.7-sonnet'],
    ],
    [
      'claude-haiku-4-5-20251001',
      ['anthropic=claude-haiku-4-5-20251001', 'openrouter=anthropic/claude-haiku-4.5'],
    ],
    ['claude-sonnet-4.6', ['anthropic=claude-sonnet-4-6', 'openrouter=anthropic/claude-sonnet-4.6']],
    ['gemini-9-pro', ['gemini=gemini-9-pro', 'openrouter=google/gemini-9-pro']],
    ['grok-9', ['xai=grok-9', 'openrouter=x-ai/grok-9']],
    ['deepseek-v9', ['deepseek=deepseek-v9', 'openrouter=deepseek/deepseek-v9']],
    ['codestral-9', ['mistral=codestral-9', 'openrouter=mistralai/codestral-9']],
    ['ministral-3b-9', ['mistral=ministral-3b-9', 'openrouter=mistralai/ministral-3b-9']],
    ['gpt-9', ['oai=gpt-9', 'openrouter=openai/gpt-9']],
    ['mistral-large', ['mistral=mistral-large-latest', 'openrouter=mistralai/mistral-large']],
    ['anthropic/claude-opus-9', ['anthropic=claude-opus-9', 'openrouter=anthropic/claude-opus-9']],
    ['anthropic/claude-sonnet-5', ['anthropic=claude-sonnet-5', 'openrouter=anthropic/claude-sonnet-5']],
    [
      'anthropic/claude-sonnet-4.6',
      ['anthropic=claude-sonnet-4-6', 'openrouter=anthropic/claude-sonnet-4.6'],
    ],
    ['openai/gpt-4o-2024-08-06', ['oai=gpt-4o-2024-08-06', 'openrouter=openai/gpt-4o-2024-08-06']],
    ['xai/grok-9', ['xai=grok-9', 'openrouter=x-ai/grok-9']],
    ['anthropic/gpt-4o', ['openrouter=anthropic/gpt-4o', 'groq=anthropic/gpt-4o']],
    ['qwen/qwen9', ['openrouter=qwen/qwen9', 'groq=qwen/qwen9']],
    [
      'anthropic/claude-opus-9:free',
      ['openrouter=anthropic/claude-opus-9:free', 'groq=anthropic/claude-opus-9:free'],
    ],
  ]
  for (const [name, steps] of table) t.same(stepsOf(catalog, name), steps, name)
  t.equal(stepsOf(catalog, 'nobody-knows-it')[0], 'oai=nobody-knows-it')
  t.equal(catalog.find('nobody-knows-it')?.asksOnlyOne, true)
  t.equal(catalog.find('Claude-opus-5'), undefined)
})

t.test('where a maker has no key, OpenRouter is asked, and else the first provider', async (t) => {
  const routed = build({ DEEPSEEK_API_KEY: 'k', OPENROUTER_API_KEY: 'k' })
  t.same(stepsOf(routed, 'claude-opus-9'), ['openrouter=anthropic/claude-opus-9'])
  t.same(stepsOf(routed, 'anthropic/claude-opus-9'), ['openrouter=anthropic/claude-opus-9'])
  t.same(stepsOf(routed, 'gpt-9'), ['openrouter=openai/gpt-9'])
  const alone = build({ OPENAI_API_KEY: 'k', GEMINI_API_KEY: 'k' })
  t.match(alone.find('claude-opus-9'), { name: '*', asksOnlyOne: true })
  t.same(stepsOf(alone, 'claude-opus-9')[0], 'openai=claude-opus-9')
  t.same(stepsOf(alone, 'anthropic/claude-opus-9')[0], 'openai=anthropic/claude-opus-9')
  t.same(stepsOf(alone, 'qwen/qwen9')[0], 'openai=qwen/qwen9')
})

t.test('clients cannot fill the memory with names', async (t) => {
  const catalog = build({ OPENAI_API_KEY: 'k', ANTHROPIC_API_KEY: 'k' })
  const first = catalog.find('claude-first')
  for (let index = 0; index < 5_000; index += 1) catalog.find(`claude-${index}x`)
  t.not(catalog.find('claude-first'), first, 'the oldest is forgotten')
  t.same(stepsOf(catalog, 'claude-first'), ['anthropic=claude-first'])
})
