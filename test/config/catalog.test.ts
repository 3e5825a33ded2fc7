import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BUILTIN_MODELS } from '../../src/config/catalog/builtin-catalog.ts'
import type { Provider } from '../../src/config/catalog/catalog.ts'
import { buildCatalog, isDemoOn } from '../../src/config/catalog/models-file.ts'
import { KNOWN_PROVIDERS } from '../../src/config/catalog/providers.ts'
import { openCatalog } from '../../src/config/catalog/source.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { SettingsError } from '../../src/config/mistakes.ts'

type Env = Record<string, string | undefined>

const KEYS = { OPENAI_API_KEY: 'sk-1', BACKUP_API_KEY: 'sk-2' }
const DEMO: Provider = {
  name: 'demo',
  origin: 'http://127.0.0.1:1',
  basePath: '/v1',
  key: undefined,
  dialects: ['openai'],
  usageOption: true,
}
const build = (text?: string, env: Env = KEYS) => buildCatalog({ settings: readSettings(env), text })
const mistakesOf = (text: string, env: Env = KEYS): readonly string[] => {
  try {
    build(text, env)
    return []
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes
    throw error
  }
}

const EXAMPLE = `
margin: 0
providers:
  backup: { baseUrl: https://llm.example.net/v1, keyEnv: BACKUP_API_KEY, dialect: anthropic }
models:
  gpt-4o:
    plan: [{ provider: openai }, { provider: backup, model: gpt-4o-mini }]
    price: { input: 1, cachedInput: 0.5, output: 4 }
    maxOutput: 4096
    fallbacks: [gpt-4o-mini]
  gpt-4o-mini: { plan: [{ provider: openai }] }
  whisper-1: { plan: [{ provider: openai }], price: { perSecond: 15 } }
  tts-1: { plan: [{ provider: openai }], price: { perCharacter: 0.5 } }
  gpt-image-1: { plan: [{ provider: openai }], price: { perImage: 4000 } }
  "*": { plan: [{ provider: openai }] }
`

t.test('a models file is the whole catalog: plans, prices, limits and further providers', async (t) => {
  const catalog = build(EXAMPLE)
  t.same([...catalog.models.keys()], ['gpt-4o', 'gpt-4o-mini', 'whisper-1', 'tts-1', 'gpt-image-1'])
  const model = catalog.models.get('gpt-4o')
  const plan = model?.plan.map((step) => [step.provider.name, step.provider.key, step.model])
  t.same(plan, [
    ['openai', 'sk-1', undefined],
    ['backup', 'sk-2', 'gpt-4o-mini'],
  ])
  t.match(model, { maxOutput: 4096, fallbacks: ['gpt-4o-mini'] })
  t.match(model?.price, { inputMicros: 1e6, cachedInputMicros: 5e5, outputMicros: 4e6, perImageMicros: 0 })
  t.match(catalog.models.get('gpt-4o-mini'), {
    maxOutput: 16_384,
    fallbacks: [],
    price: { inputMicros: 1e6 },
  })
  t.match(catalog.models.get('whisper-1')?.price, { perSecondMicros: 15e6, inputMicros: 0, outputMicros: 0 })
  t.match(catalog.models.get('tts-1')?.price, { perCharacterMicros: 5e5, inputMicros: 0 })
  t.equal(catalog.wildcard?.plan[0]?.provider.name, 'openai')
  t.match(catalog.providers.get('backup'), {
    origin: 'https://llm.example.net',
    basePath: '/v1',
    dialects: ['anthropic'],
    usageOption: true,
  })
  t.equal(
    build('{"models": {"a/b": {"plan": [{"provider": "openai"}]}}}').wildcard,
    undefined,
    'JSON, no wildcard',
  )
})

t.test('what may be taken for a listed model is known', async (t) => {
  const names = ['dear', 'x/y:free', 'gpt-4o']
  const models = Object.fromEntries([...names, '*'].map((name) => [name, { plan: [{ provider: 'openai' }] }]))
  const { looksListed } = build(JSON.stringify({ models }))
  for (const name of [
    'DEAR',
    'de ar',
    '\uff44ear',
    'dear:nitro',
    'dear:free:online',
    'Dear@preset/a:b',
    'X/Y:Free',
  ])
    t.ok(looksListed(name), encodeURI(name))
  for (const name of ['x/y:free:online', 'gpt-4o:thinking']) t.ok(looksListed(name), name)
  for (const name of ['x/y', 'x/y:nitro', 'dear2', 'a/dear', 'dear:8b', 'gpt-4o-2024-08-06', 'gpt4o'])
    t.notOk(looksListed(name), name)
})

t.test('what a provider calls a listed model is not had at the wildcard’s price', async (t) => {
  const { looksListed } = build(`
models:
  best: { plan: [{ provider: openai, model: up-dear }], price: { input: 50, output: 50 }, fallbacks: [up-spare] }
  spare: { plan: [{ provider: openai, model: up-spare }], price: { input: 50, output: 50 } }
  same: { plan: [{ provider: openai, model: up-same }] }
  "*": { plan: [{ provider: openai }] }
`)
  for (const name of ['up-dear', 'UP-DEAR', 'up-dear:nitro', 'models/up-dear', 'best', 'Same'])
    t.ok(looksListed(name), name)
  t.notOk(looksListed('up-same'), 'its price is the wildcard’s')
  t.notOk(looksListed('up-spare'), 'the operator has the wildcard serve it')
  const env = { OPENAI_API_KEY: 'a', OPENROUTER_API_KEY: 'b', ANTHROPIC_API_KEY: 'c' }
  const builtin = build(undefined, env)
  for (const name of [
    'openai/gpt-4o',
    'anthropic/claude-opus-4.5',
    'gpt-4o-2024-08-06',
    'claude-opus-4-5-20251101',
  ])
    t.notOk(builtin.looksListed(name), `${name}, built in`)
})

t.test('what a provider takes for a listed model looks listed, and no ordinary name does', async (t) => {
  const names = ['gpt-4o', 'llama3', 'gemini-pro', 'org/dear-7b', 'mixed:latest', 'models/x', 'claude-v2']
  const models = Object.fromEntries([...names, '*'].map((name) => [name, { plan: [{ provider: 'openai' }] }]))
  const { looksListed } = build(JSON.stringify({ models }))
  const looking = ['llama3:latest', 'llama3:LATEST', 'models/gemini-pro', '/models/gemini-pro', 'mixed', 'x']
  looking.push('org/dear-7b/', '/org/dear-7b', 'org//dear-7b', 'gpt-4o/', '/gpt-4o', 'gpt-4o:online:web')
  looking.push('gpt-4o:web', 'gpt-4o:web:online', 'gpt-4o:latest:nitro', 'gpt-4o/:free', 'gpt-4o:online:8b')
  for (const host of ['groq', 'fastest', 'cheapest', 'fireworks-ai', 'groq:online', 'a'.repeat(64)])
    looking.push(`org/dear-7b:${host}`)
  for (const name of looking) t.ok(looksListed(name), name)
  const ordinary = [
    'gpt-4o-2024-08-06',
    'openai/gpt-4o',
    'llama3:8b',
    'llama3:8b-instruct-q4_0',
    'gpt-4o-latest',
  ]
  ordinary.push(
    'ft:gpt-4o:acme::1',
    '@cf/meta/llama',
    'deepseek/deepseek-r1:free',
    'gpt-4o-mini',
    'claude-v2:1',
  )
  ordinary.push('accounts/fireworks/models/gemini-pro', 'org/dear-7b-instruct', 'org/dear-7b:70b', 'models/y')
  for (const name of ordinary) t.notOk(looksListed(name), name)
})

t.test('a fallback may be any name that the wildcard serves', async (t) => {
  // As our contract with operators prints it.
  const catalog = build(`
margin: 0
providers:
  backup: { baseUrl: https://llm.example.net/v1, keyEnv: BACKUP_API_KEY, dialect: openai }   # or anthropic
models:
  gpt-4o:
    plan: [{ provider: openai }, { provider: backup, model: gpt-4o-mini }]   # model: the provider's own name, if it differs
    price: { input: 1, cachedInput: 0.5, output: 4 }
    maxOutput: 16384
    fallbacks: [gpt-4o-mini]
  whisper-1: { plan: [{ provider: openai }], price: { perSecond: 15 } }
  tts-1: { plan: [{ provider: openai }], price: { perCharacter: 0.5 } }
  gpt-image-1: { plan: [{ provider: openai }], price: { perImage: 4000 } }
  "*": { plan: [{ provider: openai }] }
`)
  t.same(catalog.models.get('gpt-4o')?.fallbacks, ['gpt-4o-mini'])
  t.equal(catalog.models.has('gpt-4o-mini'), false)
  const withWildcard = (fallback: string) =>
    mistakesOf(
      `models: { m: { plan: [{ provider: openai }], fallbacks: ['${fallback}'] }, '*': { plan: [{ provider: openai }] } }`,
    )
  t.same(withWildcard('a/b:free'), [])
  t.match(withWildcard('gpt-*'), [/fallbacks\[0\] must be a model's name, not "gpt-\*"/])
  t.match(withWildcard('a b'), [/fallbacks\[0\] must be a name .* without blanks/])
  t.match(withWildcard('*'), [/fallbacks\[0\] must be a model's name, not/])
  t.match(withWildcard('m'), [/fallbacks\[0\] names the model itself/])
})

t.test('prices follow the margin and the defaults, to the micro-credit', async (t) => {
  const priceOf = (price: string, margin = 0) =>
    build(`margin: ${margin}\nmodels: { m: { plan: [{ provider: openai }], price: ${price} } }`).models.get(
      'm',
    )?.price
  t.match(priceOf('{}'), { inputMicros: 1e6, cachedInputMicros: 1e6, outputMicros: 1e6 })
  t.match(priceOf('{ input: 2 }'), { inputMicros: 2e6, cachedInputMicros: 2e6, outputMicros: 1e6 })
  t.match(priceOf('{ input: 0, output: 0 }'), { inputMicros: 0, cachedInputMicros: 0, outputMicros: 0 })
  t.match(priceOf('{ perImage: 1, output: 3 }'), { perImageMicros: 1e6, inputMicros: 1e6, outputMicros: 3e6 })
  t.match(priceOf('{ input: 0.1 }', 0.2), { inputMicros: 120_000, outputMicros: 1_200_000 })
  t.equal(priceOf('{ input: 3 }', 0.1)?.inputMicros, 3_300_000, 'no binary fraction that rounds a charge up')
  t.match(priceOf('{ perSecond: 10 }', -0.5), { perSecondMicros: 5e6 })
  t.match(priceOf('{ input: 0.0000005 }'), { inputMicros: 0.5 }, 'fractions of a micro-credit are kept')
})

t.test(
  'a price that names no LLM tokens leaves them at their usual price where they are counted',
  async (t) => {
    const modelOf = (price: string) =>
      build(`margin: 0.5\nmodels: { m: { plan: [{ provider: openai }], price: ${price} } }`).models.get('m')
    t.match(modelOf('{ perSecond: 15 }'), {
      price: { inputMicros: 0, outputMicros: 0, perSecondMicros: 22.5e6 },
      tokenPrice: {
        units: ['perSecond'],
        price: { inputMicros: 1.5e6, cachedInputMicros: 1.5e6, outputMicros: 1.5e6, perSecondMicros: 22.5e6 },
      },
    })
    t.same(modelOf('{ perCharacter: 0, perImage: 4 }')?.tokenPrice?.units, ['perCharacter', 'perImage'])
    for (const price of [
      '{}',
      '{ input: 2 }',
      '{ perImage: 4, output: 0 }',
      '{ perImage: 4, cachedInput: 0 }',
    ])
      t.equal(modelOf(price)?.tokenPrice, undefined, price)
  },
)

t.test('each mistake of a models file comes with its path and a way out', async (t) => {
  const inModel = (extra: string) => `models: { gpt-4o: { plan: [{ provider: openai }], ${extra} } }`
  const inProvider = (extra: string) =>
    `providers: { b: { ${extra} } }\nmodels: { m: { plan: [{ provider: b }] } }`
  const table: [string, RegExp][] = [
    [inModel('prize: {}'), /: models\.gpt-4o\.prize is not a setting \(did you mean "price"\?\)/],
    [inModel('price: { inptu: 1 }'), /models\.gpt-4o\.price\.inptu .*"input"/],
    [
      inModel('zzz: 1'),
      /models\.gpt-4o\.zzz is not a setting; known here: plan, price, maxOutput, fallbacks, timeouts/,
    ],
    ['modls: {}\nmodels: { m: { plan: [{ provider: openai }] } }', /: modls is not a setting .*"models"/],
    [inModel('price: { input: -1 }'), /models\.gpt-4o\.price\.input must be >= 0/],
    [inModel('price: { input: .nan }'), /price\.input must be number/],
    [inModel('price: { input: .inf }'), /price\.input must be/],
    [inModel('price: { perImage: 1e10 }'), /price\.perImage must be <= 1000000000/],
    [inModel('maxOutput: 1.5'), /maxOutput must be integer/],
    [inModel('fallbacks: [gpt-4]'), /models\.gpt-4o\.fallbacks\[0\] names no model .*"gpt-4o"/],
    [inModel('fallbacks: ["*"]'), /fallbacks\[0\] must be a model's name/],
    [inModel('fallbacks: [gpt-4o]'), /fallbacks\[0\] names the model itself/],
    ['models: { m: { plan: [] } }', /models\.m\.plan must name at least one entry/],
    ['models: { m: { plan: [{ model: x }] } }', /models\.m\.plan\[0\] lacks provider/],
    ['models: { m: { plan: [{ provider: opnai }] } }', /plan\[0\]\.provider names no provider .*"openai"/],
    ['models: { m: { plan: [{ provider: groq }] } }', /names groq, which has no key: set GROQ_API_KEY/],
    ['models: { m: { plan: [{ provider: free_openai }] } }', /set FREE_OPENAI_KEY or FREE_OPENAI_KEY_FILE/],
    ['models: { gpt-*-*: { plan: [{ provider: openai }] } }', /models\.gpt-\*-\* may have one "\*"/],
    [
      'models: { m: { plan: [{ provider: openai, model: gpt-* }] } }',
      /models\.m\.plan\[0\]\.model may have one "\*", where the entry's own name has one/,
    ],
    [
      'models: { gpt-*: { plan: [{ provider: openai, model: "*-*" }] } }',
      /models\.gpt-\*\.plan\[0\]\.model may have one/,
    ],
    ['models: { "a b": { plan: [{ provider: openai }] } }', /without blanks/],
    ['models: { "*": { plan: [{ provider: openai, model: x }] } }', /must not rename/],
    ['models: {}', /models must name at least one entry/],
    ['margin: -1\nmodels: { m: { plan: [{ provider: openai }] } }', /margin must be > -1/],
    ['', /the file must be object/],
    ['- a', /the file must be object/],
    ['models: {', /line 1/],
    ['models: { m: { plan: [{ provider: openai }] }, m: {} }', /unique/],
    [
      inProvider('baseUrl: http://llm.internal/v1'),
      /providers\.b\.baseUrl must start with https.*allowInsecure/,
    ],
    [inProvider('baseUrl: https://u:hunter2@x.example'), /user name or password$/],
    [
      inProvider('baseUrl: https://x.example, keyEnv: NOT_SET'),
      /providers\.b\.keyEnv: set NOT_SET or NOT_SET_FILE/,
    ],
    [inProvider('baseUrl: https://x.example, keyEnv: ADMIN_FIRST'), /master token/],
    [inProvider('baseUrl: https://x.example, keyEnv: constructor'), /name of a variable/],
    [inProvider('baseUrl: https://x.example, dialect: grpc'), /dialect must be one of openai, anthropic/],
    [
      `providers: { openai: { baseUrl: https://x.example } }\n${inModel('')}`,
      /already the provider of OPENAI_API_KEY/,
    ],
    [
      `providers: { openai: { timeouts: {}, usageOption: false } }\n${inModel('')}`,
      /already the provider of OPENAI_API_KEY.*"timeouts"/,
    ],
    [
      `providers: { openai: { timeouts: { idelMs: 1 } } }\n${inModel('')}`,
      /idelMs is not a setting .*"idleMs"/,
    ],
    [
      'providers: { groq: { timeouts: {} } }\nmodels: { m: { plan: [{ provider: groq }] } }',
      /names groq, which has no key/,
    ],
    [
      inModel('timeouts: { answerMs: 0 }'),
      /timeouts\.answerMs must be a whole number of milliseconds from 1/,
    ],
    [inModel('timeouts: { idleMs: 5m }'), /timeouts\.idleMs must be a whole number of milliseconds/],
    [
      inModel('timeouts: { answerMs: 1200001 }'),
      /models\.gpt-4o\.timeouts\.answerMs must be at most 1200000: TOTAL_TIMEOUT_MS/,
    ],
    [
      inProvider('baseUrl: https://x.example, timeouts: { totalMs: 1200001 }'),
      /providers\.b\.timeouts\.totalMs must be at most 1200000/,
    ],
    [`providers: { demo: { baseUrl: https://x.example } }\n${inModel('')}`, /needs another name/],
    ['#'.repeat(1_048_577), /larger than 1 MiB/],
    [
      `a0: &a0 [1]\n${Array.from({ length: 6 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`).join('\n')}`,
      /alias/,
    ],
    [Buffer.from('\uFEFFmodels: {}', 'utf16le').toString('utf8'), /^MODELS_FILE is UTF-16.*save it as UTF-8/],
    ['['.repeat(50_000), /MODELS_FILE: /],
  ]
  for (const [text, pattern] of table) {
    const mistakes = mistakesOf(text)
    t.equal(mistakes.length, 1, `${JSON.stringify(text.slice(0, 80))}: ${mistakes.join(' | ').slice(0, 300)}`)
    t.match(mistakes[0], pattern)
    t.match(mistakes[0], /^MODELS_FILE/)
    t.notMatch(mistakes[0], 'hunter2')
  }
})

t.test("entries are merged, and x- entries are the operator's own, as in a compose file", async (t) => {
  const catalog = build(`
x-usual: &usual { maxOutput: 5, price: { input: 2, output: 3 }, x-note: ours }
x-times: &times { timeouts: { idleMs: 7 } }
providers:
  x-proxy: &proxy { dialect: openai, usageOption: false }
  own: { <<: *proxy, baseUrl: https://a.example/v1, x-owner: me }
models:
  x-plan: &plan { x-why: it is shared }
  a: { <<: *usual, plan: [{ provider: own, x-note: first }] }
  b:
    <<: [*usual, *times, *plan]
    maxOutput: 9
    plan: [{ provider: own }]
  x-ai: { plan: [{ provider: own }] }
`)
  t.same([...catalog.models.keys()], ['a', 'b', 'x-ai'], 'a model may be called so')
  t.notOk(catalog.providers.has('x-proxy'))
  t.equal(catalog.providers.get('own')?.usageOption, false)
  t.equal(catalog.models.get('a')?.maxOutput, 5)
  t.equal(catalog.models.get('b')?.maxOutput, 9, 'its own words win')
  t.equal(catalog.models.get('b')?.plan[0]?.timeouts?.idleMs, 7)
  t.same(catalog.models.get('b')?.price, catalog.models.get('a')?.price)
  const many = Array.from({ length: 2000 }, (_, index) => `  m${index}: *m`).join('\n')
  const file = `providers: { own: { baseUrl: https://a.example/v1 } }\nx-m: &m { plan: [{ provider: own }] }\nmodels:\n${many}`
  t.equal(build(file).models.size, 2000)
  t.match(mistakesOf('models: { x-usual: { maxOutput: 5 } }'), [/models must name at least one entry/])
  t.match(mistakesOf('models: { a: { <<: 5, plan: [] } }'), [/MODELS_FILE: .*[Mm]erge/])
  t.match(
    mistakesOf('y-usual: 1\nmodels: { a: { plan: [{ provider: openai }] } }').join(),
    /y-usual is not a setting/,
  )
})

t.test('an address in the models file that would be 404 for every request is a mistake', async (t) => {
  const at = (url: string) =>
    mistakesOf(`providers: { own: { baseUrl: ${url} } }\nmodels: { a: { plan: [{ provider: own }] } }`)
  t.match(at('https://a.example/v1/chat/completions'), [/providers\.own\.baseUrl ends with an endpoint/])
  t.match(at('https://api.openai.com'), [
    /providers\.own\.baseUrl has no path: write https:\/\/api\.openai\.com\/v1$/,
  ])
  t.same(at('https://a.example'), [])
})

t.test('a model has its own times, where it names none its provider has, else the settings', async (t) => {
  const catalog = build(`
providers:
  openai: { timeouts: { answerMs: 1000, idleMs: 2000 } }
  b: { baseUrl: https://x.example, timeouts: { totalMs: 9000 } }
models:
  own: { plan: [{ provider: openai }, { provider: b }], timeouts: { idleMs: 3000 } }
  plain: { plan: [{ provider: openai }, { provider: b }] }
`)
  const timesOf = (name: string) => catalog.models.get(name)?.plan.map(({ timeouts }) => timeouts)
  t.same(timesOf('own'), [
    { answerMs: 1000, idleMs: 3000 },
    { totalMs: 9000, idleMs: 3000 },
  ])
  t.same(timesOf('plain'), [{ answerMs: 1000, idleMs: 2000 }, { totalMs: 9000 }])
  t.match(catalog.providers.get('openai'), { name: 'openai', key: /./ }, 'it is the one of the settings')
})

t.test('all mistakes of a models file are named at once', async (t) => {
  const mistakes = mistakesOf(`
margin: -3
providers:
  b: { baseUrl: ftp://x, keyEnv: NOT_SET }
  c: { baseURL: https://x.example }
models:
  one: { plan: [{ provider: c }, { provider: nobody }], fallbacks: [two, three] }
  two: { plan: [{ provider: openai }], maxOutput: many }
`)
  const paths = ['margin', 'b.baseUrl', 'b.keyEnv', 'c.baseURL', 'c lacks', 'one.plan[1]', 'one.fallbacks[1]']
  for (const path of [...paths, 'two.maxOutput']) {
    t.equal(mistakes.filter((mistake) => mistake.includes(path)).length, 1, path)
  }
  t.equal(mistakes.length, 8, mistakes.join('\n'))
})

t.test('a model named __proto__ is a model like any other', async (t) => {
  const text =
    '{"models": {"__proto__": {"plan": [{"provider": "openai"}]}, "constructor": {"plan": [{"provider": "openai"}]}}}'
  t.same([...build(text).models.keys()], ['__proto__', 'constructor'])
  t.match(mistakesOf('{"models": {"__proto__": {"plan": 1}}}')[0], /models\.__proto__\.plan must be array/)
})

t.test(
  'without a file the known models of the configured providers are served, and any other name by the first',
  async (t) => {
    const catalog = build(undefined, { OPENAI_ORIGINAL_API_KEY: 'sk-1', OPENROUTER_API_KEY: 'sk-2' })
    const plan = (name: string) =>
      catalog.models.get(name)?.plan.map((step) => [step.provider.name, step.model])
    t.same(plan('gpt-4o'), [
      ['openai_original', undefined],
      ['openrouter', 'openai/gpt-4o'],
    ])
    t.same(plan('claude-opus-5-5'), [['openrouter', 'anthropic/claude-opus-5.5']])
    t.same(catalog.models.get('gpt-4o')?.fallbacks, ['gpt-4o-mini'])
    t.equal(catalog.models.get('whisper-1')?.price.perSecondMicros, 15e6)
    t.equal(catalog.models.has('whisper-large-v3'), false, 'Groq has no key')
    t.match(catalog.wildcard, {
      name: '*',
      plan: [{ provider: { name: 'openai_original' }, model: undefined }],
    })
    const none = build(undefined, {})
    t.same([none.models.size, none.wildcard, none.providers.size], [0, undefined, 0])
  },
)

t.test('the built-in catalog is sound', async (t) => {
  const names = BUILTIN_MODELS.map(([name]) => name)
  t.equal(new Set(names).size, names.length, 'no model twice')
  const known = new Set(KNOWN_PROVIDERS.map((provider) => provider.name))
  const used = new Set(BUILTIN_MODELS.flatMap(([, entry]) => entry.plan.map((step) => step.provider)))
  t.same([...used].sort(), [...known].sort(), 'every known provider serves something')
  for (const [name, entry] of BUILTIN_MODELS) {
    for (const fallback of entry.fallbacks ?? []) t.ok(names.includes(fallback), `${name} -> ${fallback}`)
    t.equal(new Set(entry.plan.map((step) => step.provider)).size, entry.plan.length, name)
  }
})

t.test('the demo model is there only while nothing real is, or as the operator says', async (t) => {
  const local =
    'providers: { mine: { baseUrl: http://127.0.0.1:9/v1 } }\nmodels: { m: { plan: [{ provider: mine }] } }'
  const table: [Env, string | undefined, boolean][] = [
    [{}, undefined, true],
    [{ OPENAI_API_KEY: 'x' }, undefined, false],
    [{ OPENAI_API_KEY: 'x', DEMO_PROVIDER: 'on' }, undefined, true],
    [{ DEMO_PROVIDER: 'off' }, undefined, false],
    [{}, local, false],
    [{ DEMO_PROVIDER: 'on' }, local, true],
    [{}, 'models: {', false],
  ]
  for (const [env, text, expected] of table) t.equal(isDemoOn(readSettings(env), text), expected)
  const catalog = buildCatalog({ settings: readSettings({}), demo: DEMO })
  t.same([...catalog.models.keys()], ['demo'])
  t.match(catalog.models.get('demo'), {
    maxOutput: 1024,
    plan: [{ provider: DEMO }],
    price: { outputMicros: 1e6 },
  })
  t.equal(catalog.wildcard, undefined, 'an unknown model is not echoed')
  const both = buildCatalog({ settings: readSettings({}), text: local, demo: DEMO })
  t.same([...both.models.keys()], ['demo', 'm'])
})

t.test('a passed-through path needs a provider that exists', async (t) => {
  const open = (env: Env) => () => build(undefined, env)
  t.throws(open({ PASSTHROUGH_PATHS: '/v1/files' }), /\/v1\/files has no provider to go to/)
  t.throws(open({ ...KEYS, PASSTHROUGH_PATHS: '/v1/files=groq' }), /set GROQ_API_KEY/)
  t.throws(open({ ...KEYS, PASSTHROUGH_PATHS: '/v1/files=opnai' }), /did you mean "openai"/)
  t.doesNotThrow(open({ PASSTHROUGH_PATHS: '/x=https://a.example', WS_ROUTES: '/x=ws://a' }), 'one each')
  t.throws(open({ WS_ROUTES: '/x=ws://a,/x=ws://b' }), /leads to two places/)
  t.doesNotThrow(open({ ...KEYS, PASSTHROUGH_PATHS: '/v1/files=openai,/v1/batches,/x=https://a.example' }))
})

/** A models file that is followed; `next` resolves at the following change or mistake. */
const follow = (t: { teardown(close: () => void): void }, path: string) => {
  let tell: (what: string) => void = () => {}
  const source = openCatalog({
    settings: readSettings({ ...KEYS, MODELS_FILE: path }),
    onChange: () => tell('change'),
    onMistake: (error) => tell(error.message),
  })
  // Following a file keeps no process alive; this test must outlive its waits.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => {
    clearInterval(alive)
    source.close()
  })
  const next = (act: () => void) =>
    new Promise<string>((resolve) => {
      tell = resolve
      act()
    })
  return { source, next, names: () => [...source.current().models.keys()].join() }
}
const listing = (...names: string[]) =>
  `models: { ${names.map((name) => `${name}: { plan: [{ provider: openai }] }`).join(', ')} }`

t.test(
  'a changed models file takes effect, however it was written; a bad one is reported and the old stays',
  async (t) => {
    const path = join(t.testdir({}), 'models.yaml')
    writeFileSync(path, listing('a'))
    const { source, next, names } = follow(t, path)
    t.equal(names(), 'a')
    t.equal(
      await next(() => writeFileSync(path, listing('b'))),
      'change',
      'written in place, same size, at once',
    )
    t.equal(names(), 'b')
    const rename = () => {
      writeFileSync(`${path}.new`, listing('a', 'b'))
      renameSync(`${path}.new`, path)
    }
    t.equal(await next(rename), 'change', 'replaced by a rename')
    t.equal(names(), 'a,b')
    t.match(await next(() => writeFileSync(path, 'models: { a: {')), /^MODELS_FILE: .*line 1/, 'half-written')
    t.equal(names(), 'a,b')
    t.equal(await next(() => writeFileSync(path, listing('c'))), 'change')
    t.match(await next(() => rmSync(path)), /cannot be read \(ENOENT\)/, 'gone')
    t.equal(names(), 'c')
    t.equal(await next(() => writeFileSync(path, listing('d'))), 'change', 'back again')
    t.equal(names(), 'd')
    t.equal(await next(() => source.reload()), 'change', 'reload reads at once, changed or not')
  },
)

t.test('a models file that is wrong at the start stops the start', async (t) => {
  const dir = t.testdir({ 'bad.yaml': 'models: 1', folder: {} })
  mkdirSync(join(dir, 'deep'))
  const open = (name: string) => () => follow(t, join(dir, name))
  t.throws(open('bad.yaml'), /MODELS_FILE: models must be object/)
  t.throws(open('none.yaml'), /MODELS_FILE cannot be read \(ENOENT\)/)
  t.throws(open('folder'), /must name a regular file/)
})
