import t from 'tap'
import type { ApiName, Catalog, Model, Provider } from '../../src/config/catalog/catalog.ts'
import { buildFind } from '../../src/config/catalog/model-name.ts'
import { buildServiceTable } from '../../src/config/catalog/service-table.ts'
import type { DialectName } from '../../src/config/endpoints.ts'
import { anthropicMessages } from '../../src/dialects/anthropic-messages.ts'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { openaiChat } from '../../src/dialects/openai-chat.ts'
import { isModelAllowed, planSteps } from '../../src/routing/plan.ts'

const provider = (name: string, dialects: ApiName[] = ['openai']): Provider => ({
  name,
  origin: `https://${name}.example`,
  basePath: '/v1',
  key: name,
  dialects,
  usageOption: true,
})
const price = {
  inputMicros: 1,
  cachedInputMicros: 1,
  outputMicros: 1,
  perSecondMicros: 0,
  perCharacterMicros: 0,
  perImageMicros: 0,
}
const model = (name: string, plan: Model['plan'], fallbacks: string[] = []): Model => ({
  name,
  plan,
  price,
  maxOutput: 100,
  fallbacks,
})
const [one, two, claude] = [provider('one'), provider('two'), provider('claude', ['anthropic'])]
const plain = (each: Provider, own?: string) => ({ provider: each, model: own })

const found = (entries: Omit<Catalog, 'find'>): Catalog => ({ ...entries, find: buildFind(entries) })
const catalog = found({
  models: new Map(
    [
      model('big', [plain(one), plain(two, 'big-at-two')], ['small', 'missing', 'secret']),
      model('small', [plain(two)], ['never-of-a-fallback']),
      model('secret', [plain(one)]),
      model('never-of-a-fallback', [plain(one)]),
      model('sonnet', [plain(claude), plain(one)]),
      model('haiku', [plain(claude)]),
    ].map((each) => [each.name, each]),
  ),
  patterns: [],
  wildcard: model('*', [plain(one), plain(two, 'anything')]),
  looksListed: (name) => name === 'BIG',
  providers: new Map(),
  services: buildServiceTable([]),
})
const bare = found({ ...catalog, wildcard: undefined })
const plan = (
  asked: string,
  { allowed = [] as string[], dialect = openaiChat, from = catalog, besides = [] as string[] } = {},
) =>
  planSteps({ catalog: from, model: asked, allowed, besides, dialect }).map(
    (step) => `${step.key} at ${step.model.name}`,
  )

const catalogOf = (only: Model): Catalog => found({ ...bare, models: new Map([[only.name, only]]) })

t.test('the plan comes in order, then its fallbacks, each at its own price', (t) => {
  t.same(plan('big', { from: bare }), [
    'one/big at big',
    'two/big-at-two at big',
    'two/small at small',
    'one/secret at secret',
  ])
  t.end()
})

t.test('a fallback without an entry of its own is the wildcard’s, its name unchanged', (t) => {
  const steps = plan('big')
  t.same(steps.slice(3, -1), ['one/missing at *', 'two/anything at *'])
  t.equal(steps.at(-1), 'one/secret at secret')
  t.same(plan('big', { allowed: ['big', 'secret'] }).slice(2), ['one/secret at secret'])
  t.same(plan('big', { allowed: ['big', 'miss*'] }).slice(2), ['one/missing at *', 'two/anything at *'])
  const wildcard = model('*', [plain(one)], ['other'])
  const from = found({ ...catalog, wildcard })
  t.same(plan('new', { from }), ['one/new at *', 'one/other at *'])
  t.same(plan('other', { from }), ['one/other at *'], 'not twice')
  t.end()
})

t.test('a token does not fall back to a model that it may not use', (t) => {
  t.same(plan('big', { allowed: ['big', 'small'] }), [
    'one/big at big',
    'two/big-at-two at big',
    'two/small at small',
  ])
  t.throws(() => plan('big', { allowed: ['small'] }), { code: 'model_not_allowed', statusCode: 403 })
  t.end()
})

t.test('any other name goes to the wildcard’s plan unchanged; without one it does not exist', (t) => {
  t.same(plan('new/model:free'), ['one/new/model:free at *', 'two/anything at *'])
  t.throws(() => plan('new', { from: bare }), { code: 'model_not_found', statusCode: 404 })
  t.throws(() => plan('new', { from: bare, allowed: ['big'] }), { code: 'model_not_allowed' })
  for (const name of ['__proto__', 'constructor', 'toString'])
    t.throws(() => plan(name, { from: bare }), { code: 'model_not_found' })
  t.end()
})

t.test('only providers that speak the endpoint’s dialect are asked', (t) => {
  t.same(plan('sonnet', { dialect: anthropicMessages }), ['claude/sonnet at sonnet'])
  t.same(plan('sonnet'), ['one/sonnet at sonnet'])
  t.throws(() => plan('haiku'), { code: 'model_not_found', message: /messages/ })
  t.throws(() => plan('big', { dialect: anthropicMessages }), { code: 'model_not_found', message: /chat/ })
  t.end()
})

t.test('a price by the second, letter or image holds where these are counted, another elsewhere', (t) => {
  const tokenPrice = { units: ['perSecond' as const], price: { ...price, inputMicros: 7 } }
  const heard = { ...model('m', [plain(one)]), tokenPrice }
  const inputMicros = (name: DialectName, from = catalogOf(heard)) =>
    planSteps({
      catalog: from,
      model: 'm',
      allowed: [],
      besides: [],
      dialect: DIALECTS[name],
    }).map((step) => step.model.price.inputMicros)
  t.same(inputMicros('openai-transcription'), [1])
  for (const name of [
    'openai-chat',
    'openai-speech',
    'openai-images',
    'openai-embeddings',
    'openai-realtime',
  ] as const)
    t.same(inputMicros(name), [7], name)
  t.same(inputMicros('openai-chat', catalogOf(model('m', [plain(one)]))), [1])
  t.end()
})

t.test('the wildcard does not serve what a provider may take for a listed model', (t) => {
  t.throws(() => plan('BIG'), { code: 'model_not_found' })
  t.same(plan('other'), ['one/other at *', 'two/anything at *'])
  t.end()
})

t.test('who may use a listed model may use its versions, and nothing else', (t) => {
  t.same(plan('small-20250929', { allowed: ['small'] }), ['two/small-20250929 at small'])
  t.same(plan('small-20250929', { allowed: ['small-2025*'] }), ['two/small-20250929 at small'])
  t.same(plan('small', { allowed: ['small', 'secret'], besides: ['secret-latest'] }), ['two/small at small'])
  for (const [asked, allowed] of [
    ['small', 'small-20250929'],
    ['other-20250929', 'small'],
    ['small-20250929', 'big'],
  ] as const)
    t.throws(() => plan(asked, { allowed: [allowed] }), { code: 'model_not_allowed' }, `${allowed}: ${asked}`)
  t.end()
})

t.test('where nobody knows a name, the first provider that speaks what is asked is asked alone', (t) => {
  const wildcard = { ...model('*', [plain(one), plain(claude), plain(two)]), asksOnlyOne: true }
  const from = found({ ...catalog, wildcard })
  t.same(plan('new', { from }), ['one/new at *'])
  t.same(plan('new', { from, dialect: anthropicMessages }), ['claude/new at *'])
  t.end()
})

t.test('a model that a tool is to ask is one that the token may use', (t) => {
  t.same(plan('small', { allowed: ['small', 'secret'], besides: ['secret'] }), ['two/small at small'])
  t.throws(() => plan('small', { allowed: ['small'], besides: ['secret'] }), { code: 'model_not_allowed' })
  t.ok(plan('small', { besides: ['secret'] }))
  t.end()
})

t.test('names and patterns decide what a token may use', (t) => {
  const table: [string[], string, boolean][] = [
    [[], 'anything', true],
    [['gpt-4o'], 'gpt-4o', true],
    [['gpt-4o'], 'gpt-4o-mini', false],
    [['gpt-4o'], 'GPT-4o', false],
    [['gpt-*'], 'gpt-4o', true],
    [['gpt-*'], 'agpt-4o', false],
    [['*-mini'], 'gpt-4o-mini', true],
    [['gpt*mini'], 'gpt-4o-mini', true],
    [['ab*ba'], 'aba', false],
    [['*'], 'x', true],
    [['a.c'], 'abc', false],
    [['a', 'b*'], 'bc', true],
  ]
  for (const [patterns, name, may] of table)
    t.equal(isModelAllowed(patterns, name), may, `${patterns} ${name}`)
  t.end()
})
