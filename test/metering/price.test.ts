import fc from 'fast-check'
import t from 'tap'
import type { Price } from '../../src/config/catalog/catalog.ts'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { NO_USAGE, type Usage } from '../../src/dialects/usage.ts'
import { inputBound } from '../../src/metering/input-bound.ts'
import { type CostFacts, costMicros, leastMicros, worstCaseMicros } from '../../src/metering/price.ts'

const FREE: Price = {
  inputMicros: 0,
  cachedInputMicros: 0,
  outputMicros: 0,
  perSecondMicros: 0,
  perCharacterMicros: 0,
  perImageMicros: 0,
}
const cost = (usage: Partial<Usage>, price: Partial<Price>) =>
  costMicros({ ...NO_USAGE, ...usage }, { ...FREE, ...price })

t.test('a charge is the sum of its parts, rounded up once', async (t) => {
  for (const [usage, price, micros] of [
    [{}, {}, 0],
    [{ inputTokens: 3 }, { inputMicros: 150_000 }, 450_000],
    [{ inputTokens: 3 }, { inputMicros: 0.15 * 1e6 }, 450_000],
    [{ inputTokens: 100 }, { inputMicros: 0.57 * 1e6 }, 57_000_000],
    [{ inputTokens: 1, outputTokens: 1 }, { inputMicros: 0.1, outputMicros: 0.2 }, 1],
    [{ inputTokens: 10, outputTokens: 10 }, { inputMicros: 0.1, outputMicros: 0.2 }, 3],
    [{ inputTokens: 3 }, { inputMicros: 0.4 }, 2],
    [{ inputTokens: 1 }, { inputMicros: 1e-9 }, 1],
    [{ inputTokens: 10, cachedTokens: 4 }, { inputMicros: 10, cachedInputMicros: 1 }, 64],
    [{ inputTokens: 4, cachedTokens: 10 }, { inputMicros: 10, cachedInputMicros: 1 }, 4],
    [{ outputTokens: 5, reasoningTokens: 3 }, { outputMicros: 2 }, 10],
    [{ seconds: 8.47 }, { perSecondMicros: 15_000_000 }, 127_050_000],
    [{ characters: 7, images: 2 }, { perCharacterMicros: 500_000, perImageMicros: 4e9 }, 8_003_500_000],
    [{ outputTokens: 1e9 }, { outputMicros: 1e12 }, Number.MAX_SAFE_INTEGER],
    [{ inputTokens: Number.NaN, outputTokens: -5 }, { inputMicros: 1, outputMicros: 1 }, 0],
    [{ inputTokens: 5, outputTokens: 2 }, { inputMicros: Number.NaN, outputMicros: -1 }, 0],
    [{ outputTokens: Number.POSITIVE_INFINITY }, { outputMicros: 0 }, 0],
    [{ outputTokens: Number.POSITIVE_INFINITY }, { outputMicros: 1 }, Number.MAX_SAFE_INTEGER],
  ] as const) {
    t.equal(cost(usage, price), micros, JSON.stringify([usage, price]))
  }
})

t.test('a charge is exact to the micro-credit, also for prices that are tenths of one', async (t) => {
  const tokens = fc.integer({ min: 0, max: 1_000_000 })
  const tenths = fc.integer({ min: 0, max: 10_000_000 })
  const check = fc.property(tokens, tokens, tenths, tenths, (inputTokens, outputTokens, input, output) => {
    const exact = (BigInt(inputTokens) * BigInt(input) + BigInt(outputTokens) * BigInt(output) + 9n) / 10n
    const micros = cost({ inputTokens, outputTokens }, { inputMicros: input / 10, outputMicros: output / 10 })
    return BigInt(micros) === exact
  })
  fc.assert(check, { numRuns: 2000 })
  t.pass()
})

t.test('a charge is a whole number within bounds, whatever is reported', async (t) => {
  const any = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(Number.NaN, Infinity, -Infinity, -0))
  const check = fc.property(fc.array(any, { minLength: 9, maxLength: 9 }), (n) => {
    const [inputTokens = 0, cachedTokens = 0, outputTokens = 0, seconds = 0, images = 0] = n
    const [, , , , , inputMicros = 0, cachedInputMicros = 0, outputMicros = 0, perSecondMicros = 0] = n
    const price = {
      inputMicros,
      cachedInputMicros,
      outputMicros,
      perSecondMicros,
      perImageMicros: perSecondMicros,
    }
    const micros = cost({ inputTokens, cachedTokens, outputTokens, seconds, images }, price)
    return Number.isSafeInteger(micros) && micros >= 0
  })
  fc.assert(check, { numRuns: 2000 })
  t.pass()
})

const facts = (more: Partial<CostFacts>): CostFacts => ({
  dialect: DIALECTS['openai-chat'],
  inputTokens: 100,
  choices: 1,
  images: 0,
  characters: 0,
  seconds: 0,
  ...more,
})
const PRICE = { ...FREE, inputMicros: 1, cachedInputMicros: 0.5, outputMicros: 10 }

t.test('the worst case covers what the client allows, in every answer it asks for', async (t) => {
  for (const [more, micros] of [
    [{}, 100 + 1000 * 10],
    [{ outputLimit: 50 }, 100 + 50 * 10],
    [{ outputLimit: 50, choices: 3 }, 100 + 150 * 10],
    [{ choices: 4 }, 100 + 4000 * 10],
    [{ outputLimit: 0 }, 100 + 1000 * 10],
    [{ outputLimit: -1 }, 100 + 1000 * 10],
    [{ outputLimit: 1.5 }, 100 + 1000 * 10],
    [{ outputLimit: Number.NaN, choices: Number.NaN }, 100 + 1000 * 10],
    [{ outputLimit: 1e300, choices: 0 }, 100 + 1000 * 10],
    [{ dialect: DIALECTS['openai-embeddings'] }, 100],
    [{ dialect: DIALECTS['openai-rerank'], outputLimit: 5 }, 100],
    [{ dialect: DIALECTS['openai-images'], images: 2 }, 100 + 2000 * 10],
    [{ dialect: DIALECTS['openai-transcription'], seconds: 200 }, 100 + 1000 * 10],
    [{ dialect: DIALECTS['openai-transcription'], seconds: 500 }, 100 + 2000 * 10],
    [{ dialect: DIALECTS['anthropic-count-tokens'] }, 0],
  ] as [Partial<CostFacts>, number][]) {
    t.equal(worstCaseMicros(facts(more), PRICE, 1000), micros, JSON.stringify(more))
  }
  t.equal(worstCaseMicros(facts({ outputLimit: 1 }), { ...PRICE, cachedInputMicros: 2 }, 1), 210)
  const perUnit = { ...FREE, perSecondMicros: 3, perCharacterMicros: 5, perImageMicros: 7 }
  t.equal(worstCaseMicros(facts({ seconds: 10, characters: 10, images: 10 }), perUnit, 1000), 150)
})

t.test('the least is enough to begin with and never more than the worst case', async (t) => {
  t.equal(leastMicros(facts({}), PRICE), 25 + 10)
  t.equal(leastMicros(facts({ dialect: DIALECTS['openai-embeddings'] }), PRICE), 25)
  t.equal(leastMicros(facts({ dialect: DIALECTS['anthropic-count-tokens'] }), PRICE), 0)
  t.equal(leastMicros(facts({ images: 2 }), { ...FREE, perImageMicros: 7 }), 14)
  t.ok(leastMicros(facts({ outputLimit: 1 }), PRICE) <= worstCaseMicros(facts({ outputLimit: 1 }), PRICE, 1))
})

const base64 = (bytes: number) =>
  Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7919) % 251)).toString('base64')
const ask = (content: unknown) =>
  Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] }))
const imageUrl = (url: string) => ask([{ type: 'image_url', image_url: { url } }])

t.test('text counts as a token a byte, whatever it looks like', async (t) => {
  const long = base64(60_000)
  for (const body of [
    ask('hello'),
    ask('The quick brown fox. '.repeat(5000)),
    ask('早上好'.repeat(20_000)),
    ask(long),
    ask(`see "data": "${long}`),
    ask(`;base64,${'word '.repeat(5000)}`),
    ask(`data:text/plain;base64,${'a long story without end, '.repeat(500)}`),
    Buffer.from(JSON.stringify({ input: Array.from({ length: 20_000 }, (_, i) => i) })),
    ask(`data:text/plain;base64,${long.slice(0, 2503)} ${long.slice(2503, 5507)} ${long.slice(5507, 8000)}`),
    Buffer.from('{"data":"'),
    Buffer.alloc(0),
  ]) {
    t.equal(inputBound(body), body.length, body.toString('utf8', 0, 80))
  }
})

t.test('a file counts by its size, not by its letters', async (t) => {
  const large = base64(400_000)
  const rest = (bytes: number) => bytes - large.length + Math.floor(large.length / 8)
  const url = `data:image/png;base64,${large}`
  const source = { type: 'base64', media_type: 'application/pdf', data: large }
  const anthropic = ask([
    { type: 'document', source },
    { type: 'text', text: 'what is it?' },
  ])
  t.equal(inputBound(anthropic), rest(anthropic.length))
  const openai = imageUrl(url)
  t.equal(inputBound(openai), rest(openai.length) + 2048)
  const escaped = Buffer.from(openai.toString().replaceAll('/', '\\/'))
  t.ok(inputBound(escaped) < openai.length / 7, 'with escaped slashes')
  const audio = ask([{ type: 'input_audio', input_audio: { data: large, format: 'wav' } }])
  t.equal(inputBound(audio), rest(audio.length))
  const indented = Buffer.from(JSON.stringify(JSON.parse(openai.toString()), null, 4))
  t.equal(inputBound(indented), rest(indented.length) + 2048)
  const small = imageUrl(`data:image/png;base64,${base64(6000)}`)
  t.equal(inputBound(small), small.length - 8000 + 4096 + 2048)
})

t.test('a linked image weighs more than its link', async (t) => {
  const link = imageUrl('https://example.com/cat.png')
  t.equal(inputBound(link), link.length + 2048)
  const anthropic = ask([{ type: 'image', source: { type: 'url', url: 'https://example.com/cat.png' } }])
  t.equal(inputBound(anthropic), anthropic.length + 2048)
  const two = ask([
    { type: 'input_image', image_url: 'https://example.com/1.png' },
    { type: 'input_image', image_url: 'https://example.com/2.png' },
  ])
  t.equal(inputBound(two), two.length + 4096)
})
