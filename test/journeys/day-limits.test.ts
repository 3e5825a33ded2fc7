import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { bearer, get } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { openScene } from '../support/scene.ts'
import { steppedClock } from '../support/stepped-clock.ts'

const DAY_MS = 86_400_000
const use = async (gateway: TestGateway, token: string) => {
  const { status, headers } = await get(gateway, '/v1/models', bearer(token))
  return { status, left: Number(headers['x-ratelimit-remaining-requests']) }
}

t.test('the requests of a day are counted on by the next server, and end with the day', async (t) => {
  const clock = steppedClock(t)
  const { options } = await openScene(t)
  const env = { ...options.env, ...clock.env }
  const first = await startGateway(t, { ...options, env })
  const token = await mintToken(t, first, { perDay: 4 })
  const other = await mintToken(t, first, { perDay: 4 })
  t.strictSame(await use(first, token), { status: 200, left: 3 })
  t.strictSame(await use(first, token), { status: 200, left: 2 })
  t.equal((await first.stop()).code, 0)

  const second = await startGateway(t, { ...options, env })
  t.strictSame(await use(second, token), { status: 200, left: 1 })
  t.strictSame(await use(second, other), { status: 200, left: 3 })
  const kept = () => {
    const db = new DatabaseSync(join(options.dbDir, 'usage.sqlite'), { readOnly: true })
    const rows = db.prepare('SELECT sum(count) AS sum FROM days').all()
    db.close()
    return rows[0]?.sum
  }
  await waitUntil(kept, (sum) => sum === 4)
  await second.kill9()

  const third = await startGateway(t, { ...options, env })
  t.strictSame(await use(third, token), { status: 200, left: 0 })
  t.equal((await use(third, token)).status, 429)
  t.equal((await third.stop()).code, 0)

  clock.step(DAY_MS)
  const fourth = await startGateway(t, { ...options, env })
  t.strictSame(await use(fourth, token), { status: 200, left: 3 }, 'another day')
  await fourth.stop()
  t.equal(kept(), 1, 'and nothing is left of the one before')
})
