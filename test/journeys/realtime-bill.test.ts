import t from 'tap'
import { mintToken } from '../support/gateway.ts'
import { waitForPaidRows, waitUntil } from '../support/journey.ts'
import { open, sendEvent, usageOf } from '../support/realtime.ts'
import { done, echoUsage, realtimeScene } from '../support/realtime-scene.ts'

t.test('each response is charged while the socket lives, and the books balance', async (t) => {
  const { provider, gateway, url, credits } = await realtimeScene(t, echoUsage(100, 20, 40))
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
  const rows = await waitForPaidRows(gateway, 3)
  t.same(
    rows.map(({ request_id: id }) => String(id).replace(/^.*\./, '')),
    ['1', '2', '3'],
  )
  t.notOk(gateway.stdout().includes(token), 'no secret in the log')
})

t.test('a response that runs when the socket dies is charged by estimate', async (t) => {
  const { gateway, url, credits } = await realtimeScene(t, {
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
  t.match(await waitForPaidRows(gateway, 1), [{ estimated: 1 }])
})

t.test('fifty sockets at once: not a credit is lost', async (t) => {
  const { gateway, url, credits } = await realtimeScene(t, echoUsage(10, 5, 4))
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

t.test('a transcription is charged when it is reported, in seconds or in LLM tokens', async (t) => {
  const transcribed = {
    type: 'conversation.item.input_audio_transcription.completed',
    event_id: 'e',
    item_id: 'i',
  }
  const { gateway, url, credits } = await realtimeScene(
    t,
    {
      onMessage(socket, { type }) {
        if (type !== 'input_audio_buffer.commit') return
        sendEvent(socket, { ...transcribed, transcript: 'one', usage: { type: 'duration', seconds: 12 } })
        const tokens = { type: 'tokens', total_tokens: 40, input_tokens: 30, output_tokens: 10 }
        sendEvent(socket, { ...transcribed, transcript: 'two', usage: tokens })
      },
    },
    { perSecond: 15 },
  )
  const token = await mintToken(t, gateway, { credits: 10_000 })
  const client = await open(t, { url, token })
  client.send({ type: 'input_audio_buffer.commit' })
  await client.until('both', () => (client.events.length === 2 ? true : undefined))
  const seen = await waitUntil(
    () => credits(token),
    ({ charged }) => charged === 12 * 15 + 30 + 40,
  )
  t.equal(seen.credited, (seen.balance ?? 0) + (seen.held ?? 0) + (seen.charged ?? 0))
  client.socket.close(1000)
  await client.closed
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 10_000, balance: 9_750, held: 0, charged: 250 })
  t.match(await waitForPaidRows(gateway, 2), [
    { endpoint: '/realtime', seconds: 12, charged_micros: 180e6, estimated: 0 },
    { input_tokens: 30, output_tokens: 10, charged_micros: 70e6, estimated: 0 },
  ])
})

t.test('events in binary frames are metered and held back alike', async (t) => {
  const { gateway, url, credits, provider } = await realtimeScene(t, {
    onMessage(socket) {
      for (const event of [
        { type: 'response.created', response: {} },
        { type: 'response.done', response: { usage: usageOf(1_000, 100) } },
      ])
        socket.send(Buffer.from(JSON.stringify(event)))
    },
  })
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  const ask = (): void => client.socket.send(Buffer.from('{"type":"response.create"}'))
  ask()
  await waitUntil(
    () => credits(token),
    ({ charged }) => charged === 1_400,
  )
  ask()
  t.equal((await client.closed).code, 1008)
  t.equal(provider.received.length, 1, 'the provider was not asked again')
})
