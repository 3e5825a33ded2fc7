import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { status } from '../support/behaviour.ts'
import { bearer, credits, get, openStream, post } from '../support/client.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney } from '../support/journey.ts'
import { steppedClock } from '../support/stepped-clock.ts'
import { controlled } from '../support/stream-behaviours.ts'

const HOUR_MS = 3_600_000
const CHAT = '/v1/chat/completions'
const ask = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

t.test('a clock that is set back or forward makes nobody wait longer than a window', async (t) => {
  const clock = steppedClock(t)
  const { gateway } = await startJourney(t, {
    providers: ['main'],
    models: { m: 'main' },
    env: { ...clock.env, UNAUTHENTICATED_PER_MINUTE: '2' },
  })
  const token = bearer(await mintToken(t, gateway, { perMinute: 3 }))
  const daily = bearer(await mintToken(t, gateway, { perDay: 1 }))
  const waitOf = async (headers: object) => {
    const { status, headers: seen } = await get(gateway, '/v1/token', { ...headers })
    return { status, waitS: Number(seen['retry-after'] ?? 0) }
  }
  const until = async (headers: object) => {
    for (let count = 0; count < 10; count += 1) {
      const seen = await waitOf(headers)
      if (seen.status === 429) return seen.waitS
    }
    throw new Error('no limit was met')
  }
  await until(token)
  await until(daily)
  await until({})
  for (const hours of [-2, 5, -48, 0]) {
    clock.step(hours * HOUR_MS)
    t.ok((await until(token)) <= 60, `a minute of a token, ${hours} h`)
    t.ok((await until({})) <= 60, `a minute of an address, ${hours} h`)
    t.ok((await until(daily)) <= 86_400, `a day, ${hours} h`)
  }
})

t.test('a provider that rests is asked again in time, whatever the clock says', async (t) => {
  const clock = steppedClock(t)
  const { gateway, providers, token } = await startJourney(t, {
    providers: ['main', 'spare'],
    models: { m: { plan: [{ provider: 'main' }, { provider: 'spare' }] } },
    env: clock.env,
  })
  const auth = bearer(token)
  providers.main.answer(status(500))
  providers.spare.answer(chat())
  const by = async () => (await post(gateway, CHAT, ask, auth)).headers['x-gateway-provider']
  for (let count = 0; count < 6; count += 1) await by()
  const asked = providers.main.requests.length
  t.equal(await by(), 'spare')
  t.equal(providers.main.requests.length, asked, 'it rests')
  providers.main.answer(chat())
  clock.step(-2 * HOUR_MS)
  // The first rest is a second long.
  await wait(1_500)
  t.equal(await by(), 'main')
})

t.test('a key that was used is known, and a stream runs on, wherever the clock is set', async (t) => {
  const clock = steppedClock(t)
  const { gateway, providers, token } = await startJourney(t, {
    providers: ['main'],
    models: { m: 'main' },
    env: clock.env,
  })
  const auth = { ...bearer(token), 'idempotency-key': 'once' }
  const first = await post(gateway, CHAT, ask, auth)
  t.equal(first.status, 200)
  const running = controlled()
  providers.main.queue(running)
  const stream = await openStream(gateway, {
    path: CHAT,
    body: { ...ask, stream: true },
    headers: bearer(token),
  })
  const asked = providers.main.requests.length
  for (const hours of [-2, 5, 49, -48, 0]) {
    clock.step(hours * HOUR_MS)
    const again = await post(gateway, CHAT, ask, auth)
    t.equal(again.text, first.text, `${hours} h`)
    await running.write(`data: {"choices":[{"index":0,"delta":{"content":"at ${hours}"}}]}\n\n`)
  }
  t.equal(providers.main.requests.length, asked, 'nobody pays twice')
  await running.write('data: [DONE]\n\n')
  await running.end()
  const { text, cut } = await stream.rest()
  t.notOk(cut)
  t.match(text, /at -2.*at 5.*at 49.*at -48.*at 0.*DONE/s)
  const { held, balance, charged, credited } = await credits(gateway, token)
  t.strictSame([held, balance + charged], [0, credited])
})

t.test('a token ends when the calendar says so, and is there again when it was wrong', async (t) => {
  const clock = steppedClock(t)
  const { gateway } = await startJourney(t, { providers: ['main'], models: { m: 'main' }, env: clock.env })
  const expires = new Date(Date.now() + 24 * HOUR_MS).toISOString()
  const auth = bearer(await mintToken(t, gateway, { expires }))
  for (const [hours, status] of [
    [0, 200],
    [25, 401],
    [-48, 200],
  ] as const) {
    clock.step(hours * HOUR_MS)
    t.equal((await get(gateway, '/v1/token', auth)).status, status, `${hours} h`)
  }
})
