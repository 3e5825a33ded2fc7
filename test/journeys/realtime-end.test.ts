import t from 'tap'
import { mintToken, runTokenGen } from '../support/gateway.ts'
import { readRows } from '../support/journey.ts'
import { open, sendEvent } from '../support/realtime.ts'
import { realtimeScene } from '../support/realtime-scene.ts'

t.test('a revoked token closes its sockets within a second', async (t) => {
  const { gateway, url } = await realtimeScene(t, {})
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
  const { gateway, url } = await realtimeScene(t, {})
  const endsAt = Date.now() + 6_000
  const token = await mintToken(t, gateway, { expires: new Date(endsAt).toISOString() })
  const client = await open(t, { url, token })
  t.equal((await client.closed).code, 1008)
  t.ok(Date.now() >= endsAt && Date.now() < endsAt + 1_000, 'within a second')
})

t.test('SIGTERM closes with 1012 after the grace period, and what ran is settled', async (t) => {
  const delta = { type: 'response.output_text.delta', event_id: 'e', delta: 'x'.repeat(400) }
  const { gateway, url } = await realtimeScene(
    t,
    {
      onMessage(socket) {
        sendEvent(socket, { type: 'response.created', event_id: 'e', response: {} })
        sendEvent(socket, delta)
      },
    },
    { env: { DRAIN_TIMEOUT_MS: '300' } },
  )
  const token = await mintToken(t, gateway)
  const client = await open(t, { url, token })
  const ask = { type: 'response.create' }
  client.send(ask)
  await client.until('it to begin', () => client.events[1])
  const [exit, closed] = await Promise.all([gateway.stop(), client.closed])
  t.equal(closed.code, 1012)
  t.equal(exit.code, 0)
  // Four bytes a token; of an answer without its envelope.
  const input = Math.ceil(JSON.stringify(ask).length / 4)
  const output = Math.ceil((JSON.stringify(delta).length - 160) / 4)
  t.match(
    readRows(gateway).filter(({ charged_micros: micros }) => Number(micros) > 0),
    [
      {
        input_tokens: input,
        output_tokens: output,
        estimated: 1,
        charged_micros: (input + 4 * output) * 1e6,
      },
    ],
  )
})
