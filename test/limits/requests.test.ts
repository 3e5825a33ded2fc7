import Fastify, { type FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import { clientAuth } from '../../src/auth/client.ts'
import { errorReply } from '../../src/entrance/error-reply.ts'
import { addressLimit } from '../../src/limits/address.ts'
import { type CountingOptions, openCounting } from '../../src/limits/counting.ts'
import { type RateOptions, rateLimit, writeDuration } from '../../src/limits/requests.ts'
import type { Token } from '../../src/stores/contracts/tokens.ts'

const MIDNIGHT = Date.UTC(2027, 0, 2)

/** Any token is known here; `x-limits` gives it limits of its own. */
const anyToken = fp(
  async (app) => {
    app.decorateRequest('token')
    app.addHook('onRequest', (request, _reply, done) => {
      const own = JSON.parse(String(request.headers['x-limits'] ?? '{}'))
      const id = String(request.headers['x-api-key'])
      const token: Token = {
        id,
        hash: '',
        prefix: '',
        type: 'user',
        user: 'u',
        name: '',
        models: [],
        createdAt: 0,
        ...own,
      }
      request.token = token
      done()
    })
  },
  { name: 'client-auth' },
)

const open = async (
  t: Test,
  { perMinute, perDay, ...counted }: Omit<RateOptions, 'counting'> & CountingOptions,
) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errorReply)
  const scope: FastifyPluginAsync = async (paid) => {
    await paid.register(anyToken)
    const counting = openCounting(counted)
    paid.addHook('onClose', async () => counting.keep())
    await paid.register(rateLimit, { perMinute, perDay, counting })
    paid.get('/v1/a', (request) => request.rate ?? 'unlimited')
  }
  await app.register(scope)
  return (id: string, own: Partial<Token> = {}) =>
    app.inject({ url: '/v1/a', headers: { 'x-api-key': id, 'x-limits': JSON.stringify(own) } })
}

t.test('a token may send so many requests a minute, and reads where it stands', async (t) => {
  const ask = await open(t, { perMinute: 3 })
  for (const remaining of [2, 1, 0]) {
    const answer = await ask('a')
    t.equal(answer.statusCode, 200)
    t.match(answer.headers, {
      'x-ratelimit-limit-requests': '3',
      'x-ratelimit-remaining-requests': String(remaining),
      'x-ratelimit-reset-requests': /^(1m0s|[\d.]+s)$/,
    })
    t.match(answer.json(), { limit: 3, remaining })
  }
  const refused = await ask('a')
  t.equal(refused.statusCode, 429)
  t.match(refused.json(), { error: { code: 'rate_limit_exceeded', message: /3 requests a minute/ } })
  t.match(refused.headers, {
    'retry-after': /^(60|59)$/,
    'x-should-retry': 'true',
    'x-ratelimit-remaining-requests': '0',
  })
  t.equal((await ask('b')).statusCode, 200, 'another token is not touched')
})

t.test("a token's own limits win, and no limit is no header", async (t) => {
  const ask = await open(t, { perMinute: 1 })
  for (let index = 0; index < 5; index++)
    t.equal((await ask('rich', { requestsPerMinute: 5 })).statusCode, 200)
  t.equal((await ask('rich', { requestsPerMinute: 5 })).statusCode, 429)
  const free = await open(t, {})
  const answer = await free('x')
  t.equal(answer.body, 'unlimited')
  t.notOk(answer.headers['x-ratelimit-limit-requests'])
})

t.test('the day ends at midnight UTC, not a day after the first request', async (t) => {
  let now = MIDNIGHT - 90_000
  const ask = await open(t, { perMinute: 100, perDay: 2, now: () => now })
  t.match((await ask('a')).headers, {
    'x-ratelimit-limit-requests': '2',
    'x-ratelimit-reset-requests': '1m30s',
  })
  t.equal((await ask('a')).statusCode, 200)
  const refused = await ask('a')
  t.equal(refused.statusCode, 429)
  t.equal(refused.headers['retry-after'], '90')
  t.match(refused.json(), { error: { message: /2 requests a day/ } })
  now = MIDNIGHT - 1
  t.equal((await ask('a')).statusCode, 429)
  now = MIDNIGHT
  t.equal((await ask('a')).statusCode, 200)
})

t.test('what the minute refuses does not use up the day', async (t) => {
  const ask = await open(t, { perMinute: 1, perDay: 3, now: () => MIDNIGHT })
  await ask('a')
  for (let index = 0; index < 5; index++) await ask('a')
  const answer = await ask('a', { requestsPerMinute: 1000 })
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['x-ratelimit-remaining-requests'], '1')
})

t.test('6,000 tokens do not push one another out', async (t) => {
  const ask = await open(t, { perMinute: 1 })
  t.equal((await ask('first')).statusCode, 200)
  for (let index = 0; index < 6000; index++) await ask(`other-${index}`)
  t.equal((await ask('first')).statusCode, 429)
})

t.test('a hundred requests at once on a limit of ten: ten pass', async (t) => {
  const ask = await open(t, { perMinute: 10 })
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask('a')))
  t.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 10)
})

t.test('guessing tokens becomes 429 for the address, while a valid token still passes', async (t) => {
  const app = Fastify({ trustProxy: ['127.0.0.1'] })
  t.teardown(() => app.close())
  await app.register(errorReply)
  const onRefused = await addressLimit(app, { failuresPerMinute: 3, ipv6PrefixBits: 64 })
  const token: Token = {
    id: 'a',
    hash: '',
    prefix: '',
    type: 'user',
    user: 'u',
    name: '',
    models: [],
    createdAt: 0,
  }
  let isKnown = false
  const scope: FastifyPluginAsync = async (paid) => {
    await paid.register(clientAuth, {
      tokens: { find: async () => (isKnown ? token : undefined) },
      onRefused,
    })
    await paid.register(rateLimit, { perMinute: 100, counting: openCounting({}) })
    paid.get('/v1/a', () => 'ok')
  }
  await app.register(scope)
  const ask = async (address: string) =>
    (await app.inject({ url: '/v1/a', headers: { 'x-api-key': 'guess', 'x-forwarded-for': address } }))
      .statusCode
  const asks = [
    '2001:db8:1:2::1',
    '2001:db8:1:2::2',
    '2001:db8:1:2:ffff::3',
    '2001:db8:1:2::4',
    '2001:db8:1:3::1',
  ]
  const statuses = []
  for (const address of asks) statuses.push(await ask(address))
  t.strictSame(statuses, [401, 401, 401, 429, 401])
  isKnown = true
  t.equal(await ask('2001:db8:1:2::4'), 200)
})

t.test('durations read as those of OpenAI', async (t) => {
  const cases: [number, string][] = [
    [0, '0ms'],
    [11.2, '12ms'],
    [999, '999ms'],
    [59_200, '59.2s'],
    [59_999, '1m0s'],
    [360_000, '6m0s'],
    [10_805_000, '3h0m5s'],
  ]
  for (const [ms, text] of cases) t.equal(writeDuration(ms), text)
})
