import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { raw } from '../support/behaviour.ts'
import { bearer, get, post } from '../support/client.ts'
import { failGateway, mintToken, temporaryFolder } from '../support/gateway.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { startRedis } from '../support/redis.ts'

const CHAT = '/v1/chat/completions'
const ask = (model: string) => ({
  model,
  max_tokens: 20,
  messages: [{ role: 'user', content: 'hello there' }],
})
const KEY = 'a-key-for-prometheus'

const file = join(temporaryFolder(t), 'metrics-key')
writeFileSync(file, `${KEY}\n`, { mode: 0o600 })
const redis = await startRedis(t)
const REDIS_URL = redis.url
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  models: {
    listed: { plan: [{ provider: 'one' }, { provider: 'two' }] },
    'some-*': { plan: [{ provider: 'two' }] },
    '*': { plan: [{ provider: 'two' }] },
  },
  env: { METRICS_KEY_FILE: file, REDIS_URL },
})

async function scrape(key = KEY): Promise<string> {
  const { status, text } = await get(gateway, '/metrics', bearer(key))
  if (status !== 200) throw new Error(`the scrape was a ${status}`)
  return text
}

t.test('the key opens the metrics and nothing else', async (t) => {
  t.match(await scrape(), 'gateway_ready 1')
  t.equal((await get(gateway, '/v1/models', bearer(KEY))).status, 401)
  t.equal((await post(gateway, CHAT, ask('listed'), bearer(KEY))).status, 401)
  t.equal((await get(gateway, '/metrics')).status, 401)
  t.equal((await get(gateway, '/metrics', bearer(`${KEY}x`))).status, 401)
  t.equal((await get(gateway, '/metrics', bearer(token))).status, 404)
  t.notMatch(gateway.stdout(), KEY)
  t.notMatch(await scrape(), KEY)
})

t.test(
  'requests, durations and first bytes are told by model and provider, in the operator’s words',
  async (t) => {
    const asked = ['listed', 'some-thing', 'whatever']
    for (const model of asked) t.equal((await post(gateway, CHAT, ask(model), bearer(token))).status, 200)
    const seen = (name: string, model: string, provider: string, more = '') =>
      `${name}{provider="${provider}",model="${model}"${more}} 1`
    for (const [model, provider] of [
      ['listed', 'one'],
      ['some-*', 'two'],
      ['*', 'two'],
    ] as const) {
      const lines = [
        seen('gateway_model_requests_total', model, provider, ',status="200"'),
        seen('gateway_model_duration_seconds_count', model, provider),
        seen('gateway_model_first_byte_seconds_count', model, provider),
      ]
      for (const line of lines)
        t.ok((await waitUntil(scrape, (text) => text.includes(line))).includes(line), line)
    }
    t.notMatch(await scrape(), /some-thing|whatever/)
  },
)

t.test('a provider that rests is told of', async (t) => {
  const resting = 'gateway_provider_resting_models{provider="one"}'
  t.match(await scrape(), `${resting} 0`)
  const others = [await mintToken(t, { dbDir: gateway.dbDir, env: { REDIS_URL } }), token]
  providers.one.answer(raw(500, {}, 'no'))
  for (let n = 0; n < 12; n++) await post(gateway, CHAT, ask('listed'), bearer(others[n % 2] ?? ''))
  t.match(await scrape(), `${resting} 1`)
})

t.test('another key in the file counts at once', async (t) => {
  writeFileSync(file, 'the-next-key-of-it', { mode: 0o600 })
  t.match(await scrape('the-next-key-of-it'), 'gateway_ready 1')
  t.equal((await get(gateway, '/metrics', bearer(KEY))).status, 401)
  writeFileSync(file, KEY)
  await scrape()
})

t.test('half of a key opens nothing, and the key from before goes on', async (t) => {
  const half = KEY.slice(0, 8)
  writeFileSync(file, half)
  t.equal((await get(gateway, '/metrics', bearer(half))).status, 401)
  t.match(await scrape(), 'gateway_ready 1')
  const { mistake } = await gateway.waitForLine(({ variable }) => variable === 'METRICS_KEY_FILE')
  t.match(mistake, 'METRICS_KEY must have at least 16 characters')
  writeFileSync(file, KEY)
})

t.test('while no store answers, the key still opens them: that is when they are wanted', async (t) => {
  await redis.kill()
  await waitUntil(scrape, (text) => text.includes('gateway_ready 0'))
  t.match(await scrape(), 'gateway_ready 0')
})

t.test('a short key and a file that is not there are mistakes of the settings', async (t) => {
  t.match(await failGateway(t, { env: { METRICS_KEY: 'short' } }), {
    code: 78,
    stderr: /METRICS_KEY must have/,
  })
  const env = { METRICS_KEY_FILE: '/nowhere/key' }
  t.match(await failGateway(t, { env }), { code: 78, stderr: /METRICS_KEY_FILE cannot be read/ })
})
