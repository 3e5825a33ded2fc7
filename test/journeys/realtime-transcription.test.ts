import t from 'tap'
import { mintToken } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { open, type RealtimeBehaviour, sendEvent } from '../support/realtime.ts'
import { realtimeScene } from '../support/realtime-scene.ts'

const TYPE = 'conversation.item.input_audio_transcription.completed'

/** Transcribes every commit, for 900 credits; begins every response and never ends it. */
const transcriber: RealtimeBehaviour = {
  onMessage(socket, { type }) {
    if (type === 'response.create') sendEvent(socket, { type: 'response.created', response: {} })
    if (type === 'input_audio_buffer.commit')
      sendEvent(socket, {
        type: TYPE,
        item_id: 'i',
        transcript: 'one',
        usage: { type: 'duration', seconds: 60 },
      })
  },
}
const PRICE = { perSecond: 15 }
const seconds = (rows: ReturnType<typeof readRows>) => rows.filter(({ seconds }) => Number(seconds) > 0)
const waitForSeconds = (gateway: Parameters<typeof readRows>[0], count: number) =>
  waitUntil(
    () => seconds(readRows(gateway)),
    (rows) => rows.length >= count,
  )

t.test('transcriptions without a response run a token dry too', async (t) => {
  const { gateway, url, credits } = await realtimeScene(t, transcriber, PRICE)
  const token = await mintToken(t, gateway, { credits: 1_500 })
  const client = await open(t, { url, token })
  client.send({ type: 'input_audio_buffer.commit' })
  await waitUntil(
    () => credits(token),
    ({ charged }) => charged === 900,
  )
  client.send({ type: 'input_audio_buffer.commit' })
  const { code, reason } = await client.closed
  t.equal(code, 1008)
  t.match(reason, /insufficient_quota/)
  t.match(client.events.at(-1), { type: 'error', error: { code: 'insufficient_quota' } })
  const after = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.same(after, { credited: 1_500, balance: 0, held: 0, charged: 1_500 })
  t.match(await waitForSeconds(gateway, 2), [
    { cost_micros: 900e6, charged_micros: 900e6 },
    { cost_micros: 900e6, charged_micros: 600e6 },
  ])
})

t.test('a transcription beside a response takes what is left, and its row says the rest', async (t) => {
  const { gateway, url, credits } = await realtimeScene(t, transcriber, PRICE)
  const token = await mintToken(t, gateway, { credits: 2_000 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  await client.until('it to begin', () => client.events[0])
  t.equal((await credits(token)).balance, 600, 'the rest is held for the response')
  client.send({ type: 'input_audio_buffer.commit' })
  t.equal((await client.closed).code, 1008)
  await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.match(await waitForSeconds(gateway, 1), [{ cost_micros: 900e6, charged_micros: 600e6 }])
})

t.test('a transcription that is paid for lets a response end that holds all the rest', async (t) => {
  const { gateway, url, credits, provider } = await realtimeScene(t, transcriber, PRICE)
  const token = await mintToken(t, gateway, { credits: 2_300 })
  const client = await open(t, { url, token })
  client.send({ type: 'response.create' })
  await client.until('it to begin', () => client.events[0])
  client.send({ type: 'input_audio_buffer.commit' })
  await waitUntil(
    () => seconds(readRows(gateway)),
    ([row]) => row?.charged_micros === 900e6,
  )
  t.same(await credits(token), { credited: 2_300, balance: 0, held: 1_400, charged: 900 })
  const [socket] = provider.sockets
  if (socket) sendEvent(socket, { type: 'response.output_text.delta', delta: 'still here' })
  await client.until('the next delta', () => client.events[2])
})
