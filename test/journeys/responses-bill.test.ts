import t from 'tap'
import { mintToken } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { open, type RealtimeClient, sendEvent } from '../support/realtime.ts'
import { respond, responsesScene } from '../support/responses-socket.ts'

const create = (more: object = {}) => ({ type: 'response.create', model: 'm', input: 'hi', ...more })
const count = ({ events }: RealtimeClient, type: string) =>
  events.filter((event) => event.type === type).length
const seen = (client: RealtimeClient, type: string) =>
  client.until(type, () => (count(client, type) > 0 ? true : undefined))

t.test('a response that its error did not end does not go on for free behind the next request', async (t) => {
  const { promise: refused, resolve: goOn } = Promise.withResolvers<void>()
  const { gateway, url, credits } = await responsesScene(t, {
    async onMessage(socket, _message, all) {
      if (all.length > 1) sendEvent(socket, { type: 'error', status: 400, error: { code: 'still_running' } })
      if (all.length === 3) goOn()
      if (all.length > 1) return
      respond(socket, { words: ['one'], end: null })
      await refused
      for (let done = 0; done < 50 && socket.readyState === 1; done += 1) {
        sendEvent(socket, { type: 'response.output_text.delta', item_id: 'i', delta: ' seven'.repeat(100) })
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await seen(client, 'response.output_text.delta')
  client.send({ type: 'response.cancel', response_id: 'another' })
  await seen(client, 'error')
  client.send(create())
  const { code, reason } = await client.closed
  t.match([code, reason], [1013, /^upstream_failed/])
  t.ok(count(client, 'response.output_text.delta') < 4, 'it ends with the first words that nobody pays for')
  const { charged } = await waitUntil(
    () => credits(token),
    ({ held }) => held === 0,
  )
  t.ok((charged ?? 0) > 0)
})

t.test('a response whose beginning is not told is charged too', async (t) => {
  const { gateway, url, credits } = await responsesScene(t, {
    onMessage(socket) {
      sendEvent(socket, { type: 'response.output_text.delta', item_id: 'i', delta: 'one' })
      const usage = { input_tokens: 100, output_tokens: 20, total_tokens: 120 }
      sendEvent(socket, { type: 'response.completed', response: { id: 'r', output: [], usage } })
    },
  })
  const token = await mintToken(t, gateway, { credits: 100_000 })
  const client = await open(t, { url, token })
  client.send(create())
  await seen(client, 'response.completed')
  await waitUntil(
    () => credits(token),
    ({ charged, held }) => charged === 180 && held === 0,
  )
})

t.test(
  'a client that leaves a model at its thoughts pays for the input; one that is left pays nothing',
  async (t) => {
    const { provider, gateway, url, credits } = await responsesScene(t, {
      onMessage: (socket) => respond(socket, { words: [], end: null }),
    })
    const input = 'hello there '.repeat(500)
    for (const end of ['cut', 'close', 'left'] as const) {
      const token = await mintToken(t, gateway, { credits: 100_000 })
      const client = await open(t, { url, token })
      client.send(create({ input }))
      await seen(client, 'response.created')
      if (end === 'cut') client.socket.terminate()
      else if (end === 'close') client.socket.close(1000)
      else provider.sockets.at(-1)?.close(1011)
      const { charged = 0 } = await waitUntil(
        () => credits(token),
        ({ held }) => held === 0,
      )
      if (end === 'left') t.equal(charged, 0, end)
      else t.ok(charged > 900 && charged < 1_200, `${end}: ${charged}`)
    }
  },
)
