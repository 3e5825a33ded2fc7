import t, { type Test } from 'tap'
import { mintToken } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { lockLedger, waitForOutage } from '../support/ledger-lock.ts'
import { open, refused, sendEvent } from '../support/realtime.ts'
import { done, echoUsage, realtimeScene } from '../support/realtime-scene.ts'

/** A session with one paid answer behind it, and a ledger that cannot be written from then on. */
async function openInOutage(t: Test) {
  const scene = await realtimeScene(t, echoUsage(100, 20))
  const token = await mintToken(t, scene.gateway, { credits: 100_000 })
  const client = await open(t, { url: scene.url, token })
  const lock = lockLedger(t, scene.gateway)
  client.send({ type: 'response.create' })
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  await waitForOutage(scene.gateway)
  return { ...scene, token, client, lock }
}

t.test('while the store is down nothing is served for free, and what ran is settled later', async (t) => {
  const { gateway, url, credits, provider, token, client, lock } = await openInOutage(t)
  client.send({ type: 'response.create' })
  const { code, reason } = await client.closed
  t.equal(code, 1013, 'come again')
  t.match(reason, /store_unavailable/)
  t.match(client.events.at(-1), { type: 'error', error: { code: 'store_unavailable' } })
  t.equal(provider.received.length, 1, 'the provider was not asked again')
  const next = await refused(t, { url, token })
  t.equal(next.status, 503)
  t.match(next.body, /store_unavailable/)
  t.equal(readRows(gateway).length, 0)
  lock.end()
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 100_000, balance: 99_820, held: 0, charged: 180 })
  await waitUntil(
    () => readRows(gateway),
    (rows) => rows.some(({ charged_micros: micros }) => micros === 180e6),
  )
  t.match(await gateway.waitForLine(({ status }) => status === 101), {
    closeCode: 1013,
    error: 'store_unavailable',
    chargedMicros: 180e6,
  })
  await open(t, { url, token })
})

t.test('a store that comes back in time is not noticed', async (t) => {
  const { credits, provider, token, client, lock } = await openInOutage(t)
  client.send({ type: 'response.create' })
  lock.end()
  await client.until('the next answer', () => (done(client.events) === 2 ? true : undefined))
  t.equal(provider.received.length, 2)
  const seen = await waitUntil(
    () => credits(token),
    ({ charged }) => charged === 360,
  )
  t.equal(seen.credited, (seen.balance ?? 0) + (seen.held ?? 0) + (seen.charged ?? 0))
})

t.test('while the store is down no transcription goes on for free either', async (t) => {
  const { gateway, credits, provider, token, client, lock } = await openInOutage(t)
  const [socket] = provider.sockets
  const usage = { type: 'tokens', total_tokens: 40, input_tokens: 30, output_tokens: 10 }
  if (socket)
    sendEvent(socket, { type: 'conversation.item.input_audio_transcription.completed', item_id: 'i', usage })
  t.match(await client.closed, { code: 1013, reason: /store_unavailable/ })
  lock.end()
  await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 250 && held === 0,
  )
  await waitUntil(
    () => readRows(gateway),
    (rows) => rows.some(({ charged_micros: micros }) => micros === 70e6),
  )
})
