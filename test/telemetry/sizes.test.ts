import { statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bearer, get, openStream } from '../support/client.ts'
import type { TestGateway } from '../support/gateway.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { startRedis } from '../support/redis.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const ask = { model: 'm', max_tokens: 20, messages: [{ role: 'user', content: 'hello there' }] }
const models = { m: { plan: [{ provider: 'one' }], price: { input: 1, output: 2 } } }

/** The lines of a scrape, by name and labels. */
async function scrape(gateway: TestGateway, admin: string): Promise<Map<string, number>> {
  const { text } = await get(gateway, '/metrics', bearer(admin))
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
}

t.test('what grows is told: files, folders, disks, tokens and what waits', async (t) => {
  const { gateway, providers, token } = await startJourney(t, { providers: ['one'], models })
  const admin = await mintToken(t, gateway, { user: 'prometheus', type: 'admin', credits: 0 })
  const read = () => scrape(gateway, admin)
  const first = await read()
  t.equal(first.get('gateway_tokens'), 3)
  const path = join(gateway.dbDir, 'tokens.json')
  t.equal(first.get('gateway_store_bytes{file="tokens.json"}'), statSync(path).size)
  t.ok((first.get('gateway_store_bytes{file="usage.sqlite"}') ?? 0) > 0)
  t.ok((first.get('gateway_store_bytes{file="usage.sqlite-wal"}') ?? 0) > 0)
  t.ok((first.get('gateway_log_bytes') ?? 0) > 0)
  for (const folder of ['db', 'log', 'tmp']) {
    const size = first.get(`gateway_disk_size_bytes{folder="${folder}"}`) ?? 0
    const free = first.get(`gateway_disk_free_bytes{folder="${folder}"}`) ?? -1
    t.ok(size > 0 && free >= 0 && free <= size, folder)
  }
  t.match(Object.fromEntries(first), {
    gateway_holds: 0,
    gateway_hold_oldest_seconds: 0,
    gateway_unsettled_bills: 0,
    gateway_unsettled_oldest_seconds: 0,
    gateway_commit_queue: 0,
    gateway_answer_bytes: 0,
  })
  t.notOk(first.has('gateway_usage_rows_waiting'), 'there is no Redis in which they could wait')

  const slow = controlled()
  providers.one.queue(slow)
  const opening = openStream(gateway, { path: CHAT, headers: bearer(token), body: { ...ask, stream: true } })
  await slow.opened
  const held = await waitUntil(read, (found) => (found.get('gateway_hold_oldest_seconds') ?? 0) > 0)
  t.equal(held.get('gateway_holds'), 1)
  await slow.write('data: {"choices":[{"index":0,"delta":{"content":"some words"}}]}\n\n')
  await slow.write('data: [DONE]\n\n')
  await slow.end()
  await (await opening).rest()
  const over = await waitUntil(read, (found) => found.get('gateway_holds') === 0)
  t.equal(over.get('gateway_hold_oldest_seconds'), 0)
})

t.test('with Redis the bills and rows that wait are told', async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const gateway = await startGateway(t, { env })
  const wish = { user: 'prometheus', type: 'admin', credits: 0 } as const
  const admin = await mintToken(t, { dbDir: gateway.dbDir, env }, wish)
  const read = () => scrape(gateway, admin)
  t.match(Object.fromEntries(await read()), {
    gateway_tokens: 2,
    gateway_usage_rows_waiting: 0,
    gateway_usage_rows_lost: 0,
    gateway_unsettled_bills: 0,
  })
  t.notOk((await read()).has('gateway_commit_queue'))
})
