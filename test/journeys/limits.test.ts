import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { status } from '../support/behaviour.ts'
import { bearer, get, openStream, post, type Reply } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const ask = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
const PER_MINUTE = 12

const provider = await startProvider(t)
const models = modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } })
const start = (env: Record<string, string>): Promise<TestGateway> =>
  startGateway(t, { modelsFile: models, env: { ...providerKeys('main'), ...env } })
const gateway = await start({
  RATE_LIMIT_PER_MINUTE: String(PER_MINUTE),
  UNAUTHENTICATED_PER_MINUTE: '5',
  TRUSTED_PROXIES: '127.0.0.1/32',
})

const headersOf = ({ headers }: Pick<Reply, 'headers'>) => ({
  limit: Number(headers['x-ratelimit-limit-requests']),
  remaining: Number(headers['x-ratelimit-remaining-requests']),
})
const from = (address: string) => ({ 'x-forwarded-for': address })

t.test(
  'every answer says where its token stands, and one too many is 429 with the way to wait',
  async (t) => {
    const token = await mintToken(t, gateway)
    const auth = bearer(token)
    provider.queue(status(400), status(500))
    const stream = controlled()
    const replies: [string, Pick<Reply, 'headers'>][] = [
      ['models', await get(gateway, '/v1/models', auth)],
      ["a provider's refusal", await post(gateway, CHAT, ask, auth)],
      ["a provider's failure", await post(gateway, CHAT, ask, auth)],
      ['a refusal of ours', await post(gateway, CHAT, '{', auth)],
      ['an unknown model', await post(gateway, CHAT, { ...ask, model: 'x' }, auth)],
      ['a whole answer', await post(gateway, CHAT, ask, auth)],
      ['the token', await get(gateway, '/v1/token', auth)],
      ['an unknown path', await get(gateway, '/v1/nothing', auth)],
    ]
    provider.queue(stream)
    const open = await openStream(gateway, { path: CHAT, body: { ...ask, stream: true }, headers: auth })
    replies.push(['a stream', open])
    await stream.write('data: [DONE]\n\n')
    await stream.end()
    await open.rest()
    let used = 0
    for (const [name, reply] of replies) {
      if (name === 'an unknown path') continue
      used += 1
      t.strictSame(headersOf(reply), { limit: PER_MINUTE, remaining: PER_MINUTE - used }, name)
      t.match(reply.headers['x-ratelimit-reset-requests'], /^\d+(\.\d)?(ms|s)$|^1m0s$/, name)
    }
    while (used < PER_MINUTE) {
      t.equal((await get(gateway, '/v1/token', auth)).status, 200)
      used += 1
    }
    const asked = provider.requests.length
    const refused = await post(gateway, CHAT, ask, auth)
    t.equal(refused.status, 429)
    t.match(refused.json(), { error: { code: 'rate_limit_exceeded', param: null } })
    t.equal(refused.headers['x-should-retry'], 'true')
    t.equal(headersOf(refused).remaining, 0)
    const waitMs = Number(refused.headers['retry-after-ms'])
    t.ok(waitMs > 0 && waitMs <= 60_000)
    t.equal(Number(refused.headers['retry-after']), Math.ceil(waitMs / 1000))
    t.equal(provider.requests.length, asked, 'no provider was asked')
    t.equal((await get(gateway, '/v1/token', bearer(await mintToken(t, gateway)))).status, 200, 'others pass')
  },
)

t.test("a token's own limits win, a day's too", async (t) => {
  const two = bearer(await mintToken(t, gateway, { perMinute: 2 }))
  t.equal(headersOf(await get(gateway, '/v1/token', two)).limit, 2)
  t.equal((await get(gateway, '/v1/token', two)).status, 200)
  t.equal((await get(gateway, '/v1/token', two)).status, 429)
  const day = bearer(await mintToken(t, gateway, { perDay: 1 }))
  t.match((await get(gateway, '/v1/token', day)).json(), { limits: { perMinute: PER_MINUTE, perDay: 1 } })
  const refused = await get(gateway, '/v1/token', day)
  t.equal(refused.status, 429)
  t.match(refused.json().error.message, /a day/)
  t.ok(Number(refused.headers['retry-after']) <= 86_400)
})

t.test('guessing tokens is stopped for the address, while its valid tokens pass', async (t) => {
  const token = await mintToken(t, gateway)
  const codes: number[] = []
  for (let guess = 0; guess < 8; guess++) {
    const { status } = await get(gateway, '/v1/models', {
      ...bearer(`gw-guess-${guess}`),
      ...from('192.0.2.7'),
    })
    codes.push(status)
  }
  t.strictSame(codes, [401, 401, 401, 401, 401, 429, 429, 429])
  const refused = await get(gateway, '/v1/models', from('192.0.2.7'))
  t.equal(refused.status, 429)
  t.ok(Number(refused.headers['retry-after']) > 0)
  t.equal((await get(gateway, '/v1/models', { ...bearer(token), ...from('192.0.2.7') })).status, 200)
  t.equal(
    (await get(gateway, '/v1/models', from('192.0.2.8'))).status,
    401,
    'another address is not concerned',
  )
})

t.test('an address written by anybody but a trusted proxy is not believed', async (t) => {
  const plain = await start({ UNAUTHENTICATED_PER_MINUTE: '2' })
  const codes: number[] = []
  for (let guess = 0; guess < 4; guess++)
    codes.push((await get(plain, '/v1/models', from(`192.0.2.${guess}`))).status)
  t.strictSame(codes, [401, 401, 429, 429])
  await plain.stop()
  const addresses = plain
    .lines()
    .filter(({ msg }) => msg === 'request')
    .map(({ address }) => address)
  t.strictSame(addresses, Array(4).fill('127.0.0.1'))
  // Behind a trusted proxy the address beside ours counts, not what the client wrote before it.
  await get(gateway, '/v1/models', from('203.0.113.9, 198.51.100.4'))
  t.ok(await gateway.waitForLine(({ address }) => address === '198.51.100.4'))
})

t.test('a request without a valid token writes nothing to the store and asks nobody', async (t) => {
  const listing = () =>
    readdirSync(gateway.dbDir)
      .sort()
      .map((name) => {
        const { size, mtimeMs } = statSync(join(gateway.dbDir, name))
        return `${name} ${size} ${mtimeMs}`
      })
  const asked = provider.requests.length
  // A charge may reach the disk a moment after its answer: one restart-free settling point is a mint, which is durable.
  await mintToken(t, gateway)
  const before = listing()
  for (let guess = 0; guess < 20; guess++) {
    const headers = { ...bearer(`gw-none-${guess}`), ...from(`2001:db8::${guess}`) }
    const reply = await post(gateway, CHAT, ask, headers)
    t.ok([401, 429].includes(reply.status))
  }
  t.strictSame(listing(), before)
  t.equal(provider.requests.length, asked)
})
