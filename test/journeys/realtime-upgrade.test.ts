import t from 'tap'
import { mintToken } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { connect, open, refused } from '../support/realtime.ts'
import { realtimeScene } from '../support/realtime-scene.ts'

t.test('a browser shows its token as a subprotocol, and the key does not come back', async (t) => {
  const { gateway, url, provider } = await realtimeScene(
    t,
    {},
    { env: { CORS_ALLOWLIST: 'https://app.example' } },
  )
  const token = await mintToken(t, gateway)
  const protocols = ['realtime', `openai-insecure-api-key.${token}`, 'openai-beta.realtime-v1']
  const client = await open(t, { url, protocols, headers: { origin: 'https://app.example' } })
  t.equal(client.socket.protocol, 'realtime')
  t.notOk(JSON.stringify(client.headers).includes(token))
  t.notOk(JSON.stringify(provider.seen[0]?.rawHeaders).includes(token))
  t.match(provider.seen[0]?.headers['sec-websocket-protocol'], 'openai-beta.realtime-v1')
  const foreign = await refused(t, { url, protocols, headers: { origin: 'https://evil.example' } })
  t.equal(foreign.status, 403)
  t.match(foreign.body, /origin_not_allowed/)
})

t.test('refusals are HTTP statuses with the JSON error body', async (t) => {
  const { gateway, url } = await realtimeScene(t, {}, { env: { WS_SOCKETS_PER_TOKEN: '2' } })
  const token = await mintToken(t, gateway)
  const poor = await mintToken(t, gateway, { user: 'poor', credits: 1 })
  const narrow = await mintToken(t, gateway, { user: 'narrow', models: 'other' })
  const base = gateway.url
  const table: [string, Parameters<typeof refused>[1], number, string][] = [
    ['no token', { url }, 401, 'invalid_api_key'],
    ['unknown token', { url, token: 'sk-unknown' }, 401, 'invalid_api_key'],
    ['token in the URL', { url: `${url}&token=x`, token }, 400, 'credential_in_url'],
    ['no model', { url: `${base}/v1/realtime`, token }, 400, 'missing_model'],
    ['unknown model', { url: `${base}/v1/realtime?model=zzz`, token }, 404, 'model_not_found'],
    ['foreign model', { url, token: narrow }, 403, 'model_not_allowed'],
    ['empty purse', { url, token: poor }, 429, 'insufficient_quota'],
    ['a plain path', { url: `${base}/v1/models`, token }, 426, 'upgrade_not_served'],
    ['a path for POST', { url: `${base}/v1/chat/completions`, token }, 426, 'upgrade_not_served'],
    ['no path', { url: `${base}/v1/nowhere`, token }, 404, 'not_found'],
    ['health', { url: `${base}/health` }, 426, 'upgrade_not_served'],
  ]
  for (const [name, options, status, code] of table) {
    const seen = await refused(t, options)
    t.equal(seen.status, status, name)
    t.equal(JSON.parse(seen.body).error.code, code, name)
    t.ok(seen.headers['x-request-id'], name)
  }
  const plain = await fetch(`${base}/v1/realtime?model=m`, { headers: { authorization: `Bearer ${token}` } })
  t.equal(plain.status, 426)
  await open(t, { url, token })
  await open(t, { url, token })
  const third = await refused(t, { url, token })
  t.equal(third.status, 429, 'a cap on sockets per token')
  t.match(third.body, /rate_limit_exceeded/)
})

t.test('a socket is a running request until it ends, and an upgrade counts as a request', async (t) => {
  const { gateway, url } = await realtimeScene(t, {})
  const single = await mintToken(t, gateway, { user: 'single', inFlight: 1 })
  const first = await open(t, { url, token: single })
  const second = await refused(t, { url, token: single })
  t.equal(second.status, 429)
  t.equal(second.headers['x-should-retry'], 'true')
  t.match(JSON.parse(second.body).error, { code: 'rate_limit_exceeded', message: /1 requests running/ })
  first.socket.close()
  await first.closed
  await waitUntil(
    () => connect(t, { url, token: single }),
    (answered) => !('status' in answered),
  )
  const rare = await mintToken(t, gateway, { user: 'rare', perMinute: 2 })
  for (let count = 0; count < 2; count += 1) await open(t, { url, token: rare })
  const third = await refused(t, { url, token: rare })
  t.equal(third.status, 429)
  t.ok(Number(third.headers['retry-after']) > 0)
  t.equal(third.headers['x-ratelimit-remaining-requests'], '0')
  t.match(JSON.parse(third.body).error, { code: 'rate_limit_exceeded', message: /2 requests a minute/ })
})

t.test('the next provider is asked before the upgrade is answered', async (t) => {
  const { gateway, url, spare } = await realtimeScene(t, { refuse: { status: 503 } })
  const token = await mintToken(t, gateway)
  const client = await open(t, { url, token })
  t.match(client.headers, { 'x-gateway-provider': 'spare', 'x-gateway-attempts': '2' })
  t.equal(spare.seen[0]?.headers.authorization, 'Bearer key-of-spare')
  const alone = await refused(t, { url: url.replace('=m', '=other'), token })
  t.equal(alone.status, 502)
  t.match(alone.body, /upstream_failed/)
})

t.test('a provider that says the request is wrong is heard, and nothing is charged', async (t) => {
  const body = '{"error":{"message":"bad intent","type":"invalid_request_error","param":null,"code":null}}'
  const { gateway, url, credits } = await realtimeScene(t, { refuse: { status: 400, body } })
  const token = await mintToken(t, gateway, { credits: 5_000 })
  const seen = await refused(t, { url, token })
  t.equal(seen.status, 400)
  t.equal(seen.body, body)
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 5_000, balance: 5_000, held: 0, charged: 0 })
})

t.test('a refusal that is too long to pass on is not passed as if it were whole', async (t) => {
  const behaviour = { refuse: { status: 400, body: 'x'.repeat(64 * 1024) } }
  const { gateway, url } = await realtimeScene(t, behaviour)
  const token = await mintToken(t, gateway)
  t.match(await refused(t, { url, token }), { status: 400, body: behaviour.refuse.body })
  behaviour.refuse.body += 'x'
  const seen = await refused(t, { url, token })
  t.equal(seen.status, 502)
  t.match(JSON.parse(seen.body).error, { code: 'upstream_failed', message: /refused with 400/ })
})
