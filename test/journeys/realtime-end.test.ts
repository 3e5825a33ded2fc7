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
  const { gateway, url } = await realtimeScene(
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
