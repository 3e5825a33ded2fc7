import { LLMock } from '@copilotkit/aimock'
import OpenAI from 'openai'
import { ResponsesWS } from 'openai/resources/responses/ws'
import t from 'tap'
import type { WebSocket } from 'ws'
import { mintToken, runTokenGen, startGateway } from '../support/gateway.ts'
import { waitForPaidRows, waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { open, type RealtimeClient, refused, sendEvent } from '../support/realtime.ts'
import { respond, responsesScene } from '../support/responses-socket.ts'

const create = (more: object = {}) => ({ type: 'response.create', model: 'm', input: 'hi', ...more })
const count = ({ events }: RealtimeClient, type: string) =>
  events.filter((event) => event.type === type).length
const over = (client: RealtimeClient, times = 1) =>
  client.until('the response', () => (count(client, 'response.completed') >= times ? true : undefined))
const failure = (client: RealtimeClient, times = 1) =>
  client.until('an error', () => client.events.filter(({ type }) => type === 'error')[times - 1])

t.test(
  'each response.create is a request: held, asked in the provider’s words, charged as a row',
  async (t) => {
    const { provider, gateway, url, credits } = await responsesScene(t, {
      onMessage: (socket, { type }) => type === 'response.create' && respond(socket),
    })
    const token = await mintToken(t, gateway, { credits: 100_000 })
    const client = await open(t, {
      url,
      token,
      headers: { 'OpenAI-Beta': 'responses_websockets=2026-02-06' },
    })
    t.match(client.headers, { 'x-request-id': /^req_/, 'x-gateway-provider': 'main' })
    const [handshake] = provider.seen
    t.equal(handshake?.url, '/v1/responses')
    t.equal(handshake?.headers.authorization, 'Bearer key-of-main')
    t.equal(handshake?.headers['openai-beta'], 'responses_websockets=2026-02-06')
    for (let turn = 1; turn <= 3; turn += 1) {
      client.send(create({ previous_response_id: turn === 1 ? null : 'resp_1', store: false }))
      await over(client, turn)
      await waitUntil(
        () => credits(token),
        ({ charged }) => charged === turn * 160,
      )
    }
    t.same(
      provider.received.map(({ model, input, store }) => [model, input, store]),
      Array.from({ length: 3 }, () => ['m-upstream', 'hi', false]),
    )
    client.socket.close(1000, 'thanks')
    t.same(await client.closed, { code: 1000, reason: 'thanks' })
    const line = await gateway.waitForLine(({ route }) => route === '/v1/responses')
    t.match(line, {
      status: 101,
      model: 'm',
      provider: 'main',
      chargedMicros: 480e6,
      messagesIn: 3,
      closeCode: 1000,
    })
    const rows = await waitForPaidRows(gateway, 3)
    t.match(
      rows,
      Array.from({ length: 3 }, () => ({ endpoint: '/responses', model: 'm', model_used: 'm-upstream' })),
    )
    const seen = await waitUntil(
      () => credits(token),
      ({ held }) => held === 0,
    )
    t.same(seen, { credited: 100_000, balance: 99_520, held: 0, charged: 480 })
  },
)

t.test('what is wrong with a request is told in an event, and the socket goes on', async (t) => {
  const { provider, gateway, url, credits } = await responsesScene(t, {
    onMessage: (socket, { type }) => type === 'response.create' && respond(socket),
  })
  const token = await mintToken(t, gateway, { credits: 5_000, models: 'm,elsewhere' })
  const client = await open(t, { url, token })
  const table: [object | string, number, string][] = [
    [create({ model: 'other' }), 403, 'model_not_allowed'],
    [create({ model: 'elsewhere' }), 404, 'model_not_found'],
    [create({ model: undefined }), 400, 'missing_model'],
    [create({ background: true }), 400, 'invalid_request'],
    [create({ models: ['other'] }), 400, 'invalid_request'],
    [create({ tools: [{ type: 'image_generation', model: 'other' }] }), 403, 'model_not_allowed'],
    [create({ input: 'x '.repeat(20_000) }), 429, 'insufficient_quota'],
    [{ type: 'session.update' }, 400, 'invalid_request'],
    [create({ response: { model: 'other' } }), 400, 'invalid_request'],
    ['{"type":"x","type":"response.create","model":"m"}', 400, 'invalid_json'],
    ['{"type":"response.create","model":"m","Model":"other"}', 400, 'invalid_json'],
    ['not json', 400, 'invalid_json'],
    ['{"type":"response.create"', 400, 'invalid_json'],
  ]
  for (const [index, [sent, status, code]] of table.entries()) {
    client.socket.send(typeof sent === 'string' ? sent : JSON.stringify(sent))
    t.match(await failure(client, index + 1), { status, error: { code } }, JSON.stringify(sent).slice(0, 80))
  }
  t.equal(provider.received.length, 0)
  client.send(create())
  await over(client)
  t.equal(provider.received.length, 1)
  const after = await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 160 && held === 0,
  )
  t.equal(after.balance, 4_840)
})

t.test('a second request waits for the first, and each is charged by its own report', async (t) => {
  const { provider, gateway, url, credits } = await responsesScene(t, {
    onMessage: (socket, { type }, all) => {
      if (type === 'response.create' && all.length > 1) respond(socket, { usage: { input: 7, output: 0 } })
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  client.send(create({ model: 'other' }))
  await provider.until('the first', () => provider.received[0])
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(provider.received.length, 1, 'the second is not asked')
  const [socket] = provider.sockets
  if (socket) respond(socket, { usage: { input: 10, output: 1 } })
  await over(client, 2)
  t.equal(provider.received[1]?.model, 'other')
  await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 14 + 14 && held === 0,
  )
})

t.test('a report behind a long answer is found; a response without one is counted', async (t) => {
  const { gateway, url, credits } = await responsesScene(t, {
    onMessage: (socket, _message, all) =>
      all.length === 1
        ? respond(socket, { padding: 'x'.repeat(300_000) })
        : respond(socket, { usage: undefined, words: ['one ', 'two ', 'three'] }),
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await over(client)
  await waitUntil(
    () => credits(token),
    ({ charged }) => charged === 160,
  )
  client.send(create())
  await over(client, 2)
  const rows = await waitForPaidRows(gateway, 2)
  t.match(rows[1], { estimated: 1 })
  t.ok(Number(rows[1]?.output_tokens) >= 3 && Number(rows[1]?.output_tokens) < 10)
})

t.test('a response that came to nothing costs nothing', async (t) => {
  const { gateway, url, credits } = await responsesScene(t, {
    onMessage(socket, _message, all) {
      if (all.length === 1)
        sendEvent(socket, { type: 'error', status: 400, error: { code: 'previous_response_not_found' } })
      if (all.length === 2) respond(socket, { words: [], end: 'response.failed', usage: undefined })
      if (all.length === 3) respond(socket)
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create({ previous_response_id: 'gone' }))
  t.match(await failure(client), { error: { code: 'previous_response_not_found' } })
  client.send(create())
  await client.until('its failure', () => (count(client, 'response.failed') === 1 ? true : undefined))
  client.send(create())
  await over(client)
  await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 160 && held === 0,
  )
})

t.test('a response holds on as it grows, and is cut where no more can be held', async (t) => {
  const words = Array.from({ length: 20 }, (_, index) => `word${index} `)
  const { gateway, url, credits } = await responsesScene(t, {
    async onMessage(socket) {
      sendEvent(socket, { type: 'response.created', response: { id: 'r' } })
      for (let round = 0; round < 400 && socket.readyState === 1; round += 1) {
        for (const delta of words)
          sendEvent(socket, { type: 'response.output_text.delta', item_id: 'i', delta })
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    },
  })
  const token = await mintToken(t, gateway, { credits: 20_000 })
  const client = await open(t, { url, token })
  client.send(create())
  const closed = await client.closed
  t.equal(closed.code, 1008)
  t.match(closed.reason, /^insufficient_quota/)
  t.match(client.events.at(-1), { type: 'error', status: 429, error: { code: 'insufficient_quota' } })
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.ok(Number(after.charged) > 15_000 && Number(after.charged) <= 20_000, `charged ${after.charged}`)
  t.ok((after.balance ?? -1) >= 0)
})

t.test('a client that leaves pays for what it got', async (t) => {
  const { gateway, url, credits } = await responsesScene(t, {
    onMessage: (socket) => respond(socket, { words: ['some words'], end: null }),
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await client.until('words', () => (count(client, 'response.output_text.delta') > 0 ? true : undefined))
  client.socket.terminate()
  const after = await waitUntil(
    () => credits(token),
    ({ held, charged }) => held === 0 && (charged ?? 0) > 0,
  )
  t.ok((after.charged ?? 0) < 50, `charged ${after.charged}`)
  t.match(await waitForPaidRows(gateway, 1), [{ estimated: 1 }])
})

t.test('a provider without such a socket is passed over; where none has one, HTTP is named', async (t) => {
  const { provider, spare, gateway, url } = await responsesScene(
    t,
    { refuse: { status: 404 } },
    { spare: { onMessage: (socket) => respond(socket) } },
  )
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  t.equal(client.headers['x-gateway-provider'], 'spare')
  client.send(create())
  await over(client)
  t.equal(spare.received[0]?.model, 'm', 'its own name')
  await open(t, { url, token })
  t.equal(provider.seen.length, 1, 'it is not asked again')
  const limited = await mintToken(t, gateway, { credits: 100_000, models: 'other' })
  const no = await refused(t, { url, token: limited })
  t.equal(no.status, 426)
  t.match(JSON.parse(no.body), { error: { code: 'upgrade_required' } })
  t.equal((await refused(t, { url: `${url}?model=other`, token: limited })).status, 426)
  t.equal((await refused(t, { url: `${url}?model=m`, token: limited })).status, 403)
  t.equal((await refused(t, { url })).status, 401)
  const poor = await mintToken(t, gateway, { credits: 0 })
  t.equal((await refused(t, { url, token: poor })).status, 429)
})

t.test('a handshake that a provider refuses to one token rests it for nobody else', async (t) => {
  const { provider, gateway, url } = await responsesScene(t, {
    refuse: { status: 400 },
    refuses: ({ headers }) => headers['openai-beta'] === 'odd',
    onMessage: (socket) => respond(socket),
  })
  const [odd, other, third] = [
    await mintToken(t, gateway, { user: 'odd' }),
    await mintToken(t, gateway, { user: 'other' }),
    await mintToken(t, gateway, { user: 'third' }),
  ]
  const headers = { 'OpenAI-Beta': 'odd' }
  t.equal((await refused(t, { url, token: odd, headers })).status, 426)
  const seen = provider.seen.length
  t.equal((await refused(t, { url, token: odd })).status, 426, 'its own next one waits')
  t.equal(provider.seen.length, seen)
  t.match((await open(t, { url, token: other })).headers, { 'x-gateway-provider': 'main' })
  t.equal((await refused(t, { url, token: other, headers })).status, 426)
  t.equal((await refused(t, { url, token: third })).status, 426, 'two of them are the provider’s')
})

t.test('each response counts among the requests a minute and a day, the first with its socket', async (t) => {
  const { provider, gateway, url } = await responsesScene(t, { onMessage: (socket) => respond(socket) })
  for (const [limits, window] of [
    [{ perMinute: 3 }, 'minute'],
    [{ perDay: 3 }, 'day'],
  ] as const) {
    const asked = provider.received.length
    const token = await mintToken(t, gateway, { user: window, ...limits })
    const client = await open(t, { url, token })
    for (let turn = 1; turn <= 5; turn += 1) client.send(create())
    t.match(await failure(client, 2), {
      status: 429,
      error: { code: 'rate_limit_exceeded', message: new RegExp(`3 requests a ${window}`) },
    })
    t.equal(count(client, 'response.completed'), 3)
    t.equal(provider.received.length, asked + 3)
    t.equal((await refused(t, { url, token })).status, 429, 'nor does another socket help')
  }
})

t.test('an error in answer to a cancel makes no response free', async (t) => {
  const usage = { input: 10, output: 5 }
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  const { provider, gateway, url, credits } = await responsesScene(t, {
    async onMessage(socket, { type }, all) {
      if (type === 'response.create' && all.length === 1) return respond(socket, { end: null })
      if (type === 'response.create') {
        await pause(100)
        return respond(socket, { usage })
      }
      respond(socket, { words: [], usage })
      await pause(20)
      sendEvent(socket, { type: 'error', status: 400, error: { code: 'response_not_active' } })
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.cancel' })
  t.match(await failure(client), { status: 400, error: { param: 'type' } }, 'there is nothing to cancel')
  t.equal(provider.received.length, 0)
  client.send(create())
  client.send({ type: 'response.cancel' })
  client.send(create({ input: 'again' }))
  await over(client, 2)
  client.send(create({ input: 'once more' }))
  await over(client, 3)
  await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 3 * 30 && held === 0,
  )
})

t.test('a response that does not say that it begins is charged', async (t) => {
  const { gateway, url, credits } = await responsesScene(t, {
    onMessage(socket) {
      const report = { input_tokens: 10, output_tokens: 5, total_tokens: 15 }
      sendEvent(socket, { type: 'response.output_text.delta', item_id: 'i', delta: 'hello' })
      sendEvent(socket, { type: 'response.completed', response: { id: 'r', output: [], usage: report } })
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await over(client)
  await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 30 && held === 0,
  )
})

t.test('a provider’s key does not pass in what it says', async (t) => {
  const { gateway, url } = await responsesScene(t, {
    onMessage: (socket) => respond(socket, { words: ['key-of-main'] }),
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await over(client)
  t.notMatch(JSON.stringify(client.events), /key-of-main/)
})

t.test('a revoked token’s socket ends within a second, and what it got is charged', async (t) => {
  const { gateway, url } = await responsesScene(t, {
    onMessage: (socket) => respond(socket, { words: ['some words'], end: null }),
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await client.until('words', () => (count(client, 'response.output_text.delta') > 0 ? true : undefined))
  const listed = await runTokenGen(t, gateway.dbDir, ['--list', '--json'])
  const tokens: { id: string; user: string }[] = JSON.parse(listed.stdout)
  await runTokenGen(t, gateway.dbDir, ['--revoke', tokens.find(({ user }) => user === 'testuser')?.id ?? ''])
  const from = performance.now()
  t.equal((await client.closed).code, 1008)
  t.ok(performance.now() - from < 1_500)
  t.match(await waitForPaidRows(gateway, 1), [{ estimated: 1, endpoint: '/responses' }])
})

t.test('fragments and many sockets at once: not a credit is lost', async (t) => {
  const { gateway, url, credits } = await responsesScene(t, {
    onMessage: (socket) => respond(socket, { usage: { input: 10, output: 5 } }),
  })
  const token = await mintToken(t, gateway, { credits: 1_000_000 })
  const clients = await Promise.all(Array.from({ length: 20 }, () => open(t, { url, token })))
  await Promise.all(
    clients.map(async (client) => {
      for (let turn = 1; turn <= 3; turn += 1) {
        const text = JSON.stringify(create({ input: 'é'.repeat(turn) }))
        client.socket.send(text.slice(0, 9), { fin: false })
        client.socket.ping()
        client.socket.send(text.slice(9), { fin: true })
        await over(client, turn)
      }
      client.socket.close(1000)
      await client.closed
    }),
  )
  const charged = 20 * 3 * (10 + 20)
  const after = await waitUntil(
    () => credits(token),
    ({ held, charged: seen }) => held === 0 && seen === charged,
  )
  t.same(after, { credited: 1_000_000, balance: 1_000_000 - charged, held: 0, charged })
})

t.test('SIGTERM ends sockets with 1012, and what ran is settled', async (t) => {
  const { gateway, url } = await responsesScene(
    t,
    { onMessage: (socket) => respond(socket, { words: ['some words'], end: null }) },
    { env: { DRAIN_TIMEOUT_MS: '300' } },
  )
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await client.until('words', () => (count(client, 'response.output_text.delta') > 0 ? true : undefined))
  gateway.signal('SIGTERM')
  t.equal((await client.closed).code, 1012)
  t.equal((await gateway.exited).code, 0)
  t.match(await waitForPaidRows(gateway, 1), [{ estimated: 1 }])
})

t.test('OpenAI’s own client talks to a mock that no one here wrote, turn after turn', async (t) => {
  const mock = new LLMock({ port: 0, host: '127.0.0.1' })
  mock.onMessage('hello', { content: 'Hi thére 👋!', usage: { input_tokens: 30, output_tokens: 5 } })
  await mock.start()
  t.teardown(() => mock.stop())
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, { providers: { mock: `${mock.url}/v1` }, models: { 'gpt-6-astra': 'mock' } }),
    env: providerKeys('mock'),
  })
  const token = await mintToken(t, gateway)
  const socket = new ResponsesWS(new OpenAI({ apiKey: token, baseURL: `${gateway.url}/v1` }))
  t.teardown(() => socket.close())
  for (let turn = 1; turn <= 2; turn += 1) {
    socket.send({ type: 'response.create', model: 'gpt-6-astra', input: 'hello', store: false })
    let text = ''
    for await (const event of socket) {
      if (event.type === 'error') throw event.error
      if (event.type !== 'message') continue
      if (event.message.type === 'response.output_text.delta') text += event.message.delta
      if (event.message.type === 'response.completed') break
    }
    t.equal(text, 'Hi thére 👋!')
  }
  const rows = await waitForPaidRows(gateway, 2)
  t.match(rows, [{ charged_micros: 35e6, provider: 'mock' }, { charged_micros: 35e6 }])
})

t.test('what failed is told without the operator’s account, on both sockets', async (t) => {
  const message = 'Rate limit reached for gpt-6-astra in organization org-AbCd1234EfGh on tokens'
  const tell = (socket: WebSocket) =>
    sendEvent(socket, { type: 'error', error: { code: 'rate_limit', message } })
  const { gateway, url } = await responsesScene(t, { onMessage: tell })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  for (const [address, sent] of [
    [url, create()],
    [`${gateway.url}/v1/realtime?model=m`, { type: 'response.create' }],
  ] as const) {
    const client = await open(t, { url: address, token })
    client.send(sent)
    const { error } = (await failure(client)) as { error?: { message: string } }
    t.match(error?.message, /^Rate limit reached for gpt-6-astra in organization \*+ on tokens$/, address)
  }
})
