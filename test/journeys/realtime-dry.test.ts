import t from 'tap'
import { mintToken } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { answer, open, sendEvent, usageOf } from '../support/realtime.ts'
import { done, echoUsage, realtimeScene } from '../support/realtime-scene.ts'

t.test('a token that runs dry gets the error event and 1008 before the next response', async (t) => {
  const { gateway, url, credits, provider } = await realtimeScene(t, echoUsage(1_000, 100))
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
  const { gateway, url, credits } = await realtimeScene(t, {
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

t.test('a response that costs more than is left is cut in its middle', async (t) => {
  const { gateway, url, credits, provider } = await realtimeScene(t, {
    onMessage(socket, { type }) {
      if (type !== 'response.create') return
      sendEvent(socket, { type: 'response.created', event_id: 'e', response: {} })
      const pump = (): void => {
        if (socket.readyState !== socket.OPEN) return
        // 1,000 LLM tokens each: 4,000 credits of which the token has none.
        socket.send(JSON.stringify({ type: 'response.output_text.delta', delta: 'x'.repeat(4_000) }), () =>
          setImmediate(pump),
        )
      }
      pump()
    },
  })
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  const { code, reason } = await client.closed
  t.equal(code, 1008)
  t.match(reason, /insufficient_quota/)
  t.match(client.events.at(-1), { type: 'error', error: { code: 'insufficient_quota' } })
  t.ok(client.events.some(({ type }) => type === 'response.output_text.delta'))
  await provider.until('the provider to hear of it', () =>
    provider.sockets[0]?.readyState === WebSocket.CLOSED ? true : undefined,
  )
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 1_500, balance: 0, held: 0, charged: 1_500 })
})

t.test('what a response reported is the least that the next one must have', async (t) => {
  const { gateway, url, credits, provider } = await realtimeScene(t, echoUsage(4_000, 0))
  const token = await mintToken(t, gateway, { credits: 7_000 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  await waitUntil(
    () => credits(token),
    ({ charged }) => charged === 4_000,
  )
  client.send({ type: 'response.create' })
  t.equal((await client.closed).code, 1008, '3,000 credits are left, the context is 4,000')
  t.equal(provider.received.length, 1)
})

t.test('input that outgrows what was set aside is weighed before the response is asked for', async (t) => {
  const item = (length: number) => ({
    type: 'conversation.item.create',
    item: { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'x'.repeat(length) }] },
  })
  const { gateway, url, credits, provider } = await realtimeScene(t, echoUsage(2_000, 0))
  const token = await mintToken(t, gateway, { credits: 10_000 })
  const client = await open(t, { url, token })
  t.equal((await credits(token)).held, 1_400, 'one turn of 1,000 and an answer of 100')
  client.send(item(8_000))
  client.send({ type: 'response.create' })
  await provider.until('it to be asked', () => (provider.received.length === 2 ? true : undefined))
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  client.send(item(40_000))
  client.send({ type: 'response.create' })
  t.equal((await client.closed).code, 1008, '8,000 credits are left for a context of 12,000')
  t.equal(provider.received.length, 3, 'the provider got the item, and was not asked')
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 10_000, balance: 8_000, held: 0, charged: 2_000 })
})

t.test('a small response beside the conversation makes the next one no cheaper', async (t) => {
  const { gateway, url, credits, provider } = await realtimeScene(t, {
    onMessage(socket, { type, response }) {
      if (type === 'response.create') answer(socket, usageOf(response === undefined ? 4_000 : 100, 0))
    },
  })
  const token = await mintToken(t, gateway, { credits: 8_050 })
  const client = await open(t, { url, token })
  const charged = (micros: number) =>
    waitUntil(
      () => credits(token),
      (seen) => seen.charged === micros,
    )
  client.send({ type: 'response.create' })
  await charged(4_000)
  client.send({ type: 'response.create', response: { conversation: 'none', input: [] } })
  await charged(4_100)
  client.send({ type: 'response.create' })
  t.equal((await client.closed).code, 1008, '3,950 credits are left, the conversation is 4,000')
  t.equal(provider.received.length, 2)
})

t.test('a response that is asked for in fragments is asked for all the same', async (t) => {
  const { gateway, url, provider } = await realtimeScene(t, echoUsage(1_000, 100))
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  const ask = (): void => {
    for (const part of ['{"type":', '"respon', '']) client.socket.send(part, { fin: false })
    client.socket.send('se.create"}')
  }
  ask()
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  ask()
  t.equal((await client.closed).code, 1008)
  t.equal(provider.received.length, 1, 'the provider was not asked again')
})

t.test('a message that hides what it is may be asking', async (t) => {
  const { gateway, url, provider } = await realtimeScene(t, echoUsage(1_000, 100))
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  const ask = (): void =>
    client.socket.send(
      JSON.stringify({ response: { instructions: 'x'.repeat(2_000) }, type: 'response.create' }),
    )
  ask()
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  ask()
  t.equal((await client.closed).code, 1008)
  t.equal(provider.received.length, 1, 'the provider was not asked again')
})
