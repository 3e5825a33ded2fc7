import t from 'tap'
import { mintToken, runTokenGen, startGateway } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import type { RealtimeBehaviour } from '../support/realtime.ts'
import { answer, open, refused, sendEvent, startRealtime, usageOf } from '../support/realtime.ts'
import type { Owner } from '../support/waiting.ts'

/** A gateway before one provider `main` (and `spare`), with the model `m`: 1 credit for input, 0.5 cached, 4 for output. */
async function scene(t: Owner, behaviour: RealtimeBehaviour, { env = {}, maxOutput = 100 } = {}) {
  const provider = await startRealtime(t, behaviour)
  const spare = await startRealtime(t, behaviour.refuse ? {} : behaviour)
  const price = { input: 1, cachedInput: 0.5, output: 4 }
  const path = modelsFile(t, {
    providers: { main: provider.url, spare: spare.url },
    models: {
      m: { plan: [{ provider: 'main', model: 'm-upstream' }, { provider: 'spare' }], price, maxOutput },
      other: { plan: [{ provider: 'main' }], price, maxOutput },
    },
  })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: {
      ...providerKeys('main', 'spare'),
      RATE_LIMIT_PER_MINUTE: '100000',
      WS_SOCKETS_PER_TOKEN: '1000',
      ...env,
    },
  })
  const url = `${gateway.url}/v1/realtime?model=m`
  const credits = async (token: string) => {
    const answered = await fetch(`${gateway.url}/v1/token`, { headers: { authorization: `Bearer ${token}` } })
    const { credits: seen } = (await answered.json()) as { credits: Record<string, number> }
    return seen
  }
  return { provider, spare, gateway, url, credits }
}

const echoUsage = (input: number, output: number, cached = 0): RealtimeBehaviour => ({
  onMessage(socket, message) {
    if (message.type === 'response.create') answer(socket, usageOf(input, output, cached))
  },
})
const done = (events: { type: string }[]) => events.filter(({ type }) => type === 'response.done').length

t.test('each response is charged while the socket lives, and the books balance', async (t) => {
  const { provider, gateway, url, credits } = await scene(t, echoUsage(100, 20, 40))
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, {
    url,
    token,
    headers: { 'OpenAI-Beta': 'realtime=v1', cookie: 'a=b', 'x-evil': '1' },
  })
  t.match(client.headers, {
    'x-request-id': /^req_/,
    'x-gateway-provider': 'main',
    'x-gateway-model': 'm-upstream',
    'x-gateway-attempts': '1',
    'x-ratelimit-limit-requests': '100000',
  })
  const [handshake] = provider.seen
  t.equal(handshake?.url, '/v1/realtime?model=m-upstream', 'the model is rewritten')
  t.equal(handshake?.headers.authorization, 'Bearer key-of-main', 'the provider gets its own key')
  t.equal(handshake?.headers['openai-beta'], 'realtime=v1')
  t.notOk(handshake?.headers.cookie || handshake?.headers['x-evil'], 'nothing else of the client goes up')
  t.notOk(JSON.stringify(handshake?.headers).includes(token))
  for (let turn = 1; turn <= 3; turn += 1) {
    client.send({ type: 'response.create', event_id: `ask${turn}` })
    await client.until('the answer', () => (done(client.events) >= turn ? true : undefined))
    const seen = await waitUntil(
      () => credits(token),
      ({ charged }) => charged === turn * 160,
    )
    t.equal(seen.credited, (seen.balance ?? 0) + (seen.held ?? 0) + (seen.charged ?? 0))
  }
  client.socket.close(1000, 'thanks')
  t.same(await client.closed, { code: 1000, reason: 'thanks' })
  const line = await gateway.waitForLine(({ route }) => route === '/v1/realtime')
  t.match(line, {
    status: 101,
    model: 'm',
    provider: 'main',
    chargedMicros: 480e6,
    messagesIn: 3,
    messagesOut: 9,
    closeCode: 1000,
  })
  const seen = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(seen, { credited: 100_000, balance: 99_520, held: 0, charged: 480 })
  const rows = readRows(gateway).filter(({ charged_micros: micros }) => Number(micros) > 0)
  t.same(
    rows.map(({ request_id: id }) => String(id).replace(/^.*\./, '')),
    ['1', '2', '3'],
  )
  t.notOk(gateway.stdout().includes(token), 'no secret in the log')
})

t.test('a browser shows its token as a subprotocol, and the key does not come back', async (t) => {
  const { gateway, url, provider } = await scene(t, {}, { env: { CORS_ALLOWLIST: 'https://app.example' } })
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
  const { gateway, url } = await scene(t, {}, { env: { WS_SOCKETS_PER_TOKEN: '2' } })
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

t.test('the next provider is asked before the upgrade is answered', async (t) => {
  const { gateway, url, spare } = await scene(t, { refuse: { status: 503 } })
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
  const { gateway, url, credits } = await scene(t, { refuse: { status: 400, body } })
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

t.test('a token that runs dry gets the error event and 1008 before the next response', async (t) => {
  const { gateway, url, credits, provider } = await scene(t, echoUsage(1_000, 100))
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  client.send({ type: 'response.create' })
  const { code, reason } = await client.closed
  t.equal(code, 1008)
  t.match(reason, /insufficient_quota/)
  t.match(client.events.at(-1), {
    type: 'error',
    event_id: String,
    error: {
      type: 'insufficient_quota',
      code: 'insufficient_quota',
      message: String,
      param: null,
      event_id: null,
    },
  })
  t.equal(provider.received.length, 1, 'the provider was not asked again')
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 1_500, balance: 100, held: 0, charged: 1_400 })
})

t.test('a response that the provider begins by itself does not reach a dry client', async (t) => {
  const { gateway, url, credits } = await scene(t, {
    onMessage(socket, { type }) {
      if (type === 'input_audio_buffer.append') answer(socket, usageOf(1_000, 100))
    },
  })
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  client.send({ type: 'input_audio_buffer.append', audio: 'AAAA' })
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  client.send({ type: 'input_audio_buffer.append', audio: 'AAAA' })
  t.equal((await client.closed).code, 1008)
  t.equal(client.events.filter(({ type }) => type === 'response.created').length, 1)
  t.equal(client.events.at(-1)?.type, 'error')
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.equal(after.credited, (after.balance ?? 0) + (after.charged ?? 0))
})

t.test('a response that runs when the socket dies is charged by estimate', async (t) => {
  const { gateway, url, credits } = await scene(t, {
    onMessage(socket) {
      sendEvent(socket, { type: 'response.created', event_id: 'e', response: {} })
      sendEvent(socket, { type: 'response.output_text.delta', event_id: 'e', delta: 'x'.repeat(300) })
      socket.terminate()
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  t.equal((await client.closed).code, 1006)
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.ok((after.charged ?? 0) > 100, `charged ${after.charged}`)
  t.equal(after.credited, (after.balance ?? 0) + (after.charged ?? 0))
  t.match(readRows(gateway)[0], { estimated: 1 })
})

t.test('a revoked token closes its sockets within a second', async (t) => {
  const { gateway, url } = await scene(t, {})
  const token = await mintToken(t, gateway)
  const client = await open(t, { url, token })
  const listed = await runTokenGen(t, gateway.dbDir, ['--list', '--json'])
  const tokens: { id: string; user: string }[] = JSON.parse(listed.stdout)
  const id = tokens.find(({ user }) => user === 'testuser')?.id ?? ''
  await runTokenGen(t, gateway.dbDir, ['--revoke', id])
  const from = performance.now()
  const { code, reason } = await client.closed
  t.equal(code, 1008)
  t.match(reason, /no longer valid/)
  t.ok(performance.now() - from < 1_000)
})

t.test('an expired token closes its sockets', async (t) => {
  const { gateway, url } = await scene(t, {})
  const endsAt = Date.now() + 6_000
  const token = await mintToken(t, gateway, { expires: new Date(endsAt).toISOString() })
  const client = await open(t, { url, token })
  t.equal((await client.closed).code, 1008)
  t.ok(Date.now() >= endsAt && Date.now() < endsAt + 1_000, 'within a second')
})

t.test('SIGTERM closes with 1012 after the grace period, and what ran is settled', async (t) => {
  const { gateway, url } = await scene(
    t,
    { onMessage: (socket) => sendEvent(socket, { type: 'response.created', event_id: 'e', response: {} }) },
    { env: { DRAIN_TIMEOUT_MS: '300' } },
  )
  const token = await mintToken(t, gateway)
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  await client.until('it to begin', () => (client.events.length > 0 ? true : undefined))
  const [exit, closed] = await Promise.all([gateway.stop(), client.closed])
  t.equal(closed.code, 1012)
  t.equal(exit.code, 0)
  t.equal(readRows(gateway).length >= 1, true)
})

t.test('fifty sockets at once: not a credit is lost', async (t) => {
  const { gateway, url, credits } = await scene(t, echoUsage(10, 5, 4))
  const token = await mintToken(t, gateway, { credits: 1_000_000 })
  const clients = await Promise.all(Array.from({ length: 50 }, () => open(t, { url, token })))
  await Promise.all(
    clients.map(async (client) => {
      for (let turn = 1; turn <= 4; turn += 1) {
        client.send({ type: 'response.create' })
        await client.until('the answer', () => (done(client.events) >= turn ? true : undefined), 20_000)
      }
      client.socket.close(1000)
      await client.closed
    }),
  )
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  const charged = 50 * 4 * (6 + 2 + 20)
  t.same(after, { credited: 1_000_000, balance: 1_000_000 - charged, held: 0, charged })
})
