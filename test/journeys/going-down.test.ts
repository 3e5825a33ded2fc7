import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { chatStream } from '../support/answers.ts'
import { bearer, credits, get, openStream, post } from '../support/client.ts'
import { hang } from '../support/faults.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { ask, openScene } from '../support/scene.ts'
import { controlled, endless } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const event = (content: string) => `data: {"choices":[{"index":0,"delta":{"content":"${content}"}}]}\n\n`
t.test('going down: a running stream ends by itself, new work is refused, and the exit is 0', async (t) => {
  const { provider, options } = await openScene(t)
  const gateway = await startGateway(t, options)
  const token = await mintToken(t, gateway)
  t.equal((await get(gateway, '/ready')).status, 200)

  const running = controlled()
  provider.queue(running)
  const stream = await openStream(gateway, { path: CHAT, body: ask(true), headers: bearer(token) })
  await running.write(event('one'))
  const idle = connect(gateway.port, '127.0.0.1')
  idle.resume()
  await once(idle, 'connect')
  gateway.signal('SIGTERM')
  await gateway.waitForLine(({ msg }) => msg === 'draining')

  const ready = await get(gateway, '/ready')
  t.equal(ready.status, 503, 'an edge that asks sees it')
  t.equal((await get(gateway, '/health')).status, 200, 'the process lives')
  const refused = await post(gateway, CHAT, ask(false), bearer(token))
  t.equal(refused.status, 503)
  t.equal(refused.json().error.code, 'gateway_restarting')
  t.ok(Number(refused.headers['retry-after']) >= 1)
  t.equal(refused.headers['x-should-retry'], 'true')

  await running.write(event('two'))
  await running.write('data: [DONE]\n\n')
  await running.end()
  const { text, cut } = await stream.rest()
  t.notOk(cut)
  t.match(text, /one.*two.*DONE/s)
  const { code, stderr } = await gateway.exited
  t.equal(code, 0)
  t.equal(stderr, '')

  const next = await startGateway(t, options)
  const seen = await credits(next, token)
  t.equal(seen.held, 0)
  t.ok(seen.charged > 0, 'the stream is paid')
  t.equal(seen.credited, seen.balance + seen.charged)
})

t.test('going down: what runs too long is told so, cut and charged once', async (t) => {
  const { provider, options } = await openScene(t)
  const env = { ...options.env, DRAIN_TIMEOUT_MS: '300' }
  const gateway = await startGateway(t, { ...options, env })
  const token = await mintToken(t, gateway)
  const [running, waiting] = [controlled(), hang()]
  provider.queue(running, waiting)
  const stream = await openStream(gateway, { path: CHAT, body: ask(true), headers: bearer(token) })
  await running.write(event('one'))
  const plain = post(gateway, CHAT, ask(false), bearer(token))
  await provider.waitForRequest(2)
  const rest = stream.rest()
  const { code, ms } = await gateway.stop()
  t.equal(code, 0)
  t.ok(ms >= 300 && ms < 5000, `took ${Math.round(ms)} ms`)
  const { text, cut } = await rest
  t.ok(cut, 'the stream does not look complete')
  t.match(text, /one.*gateway_restarting/s)
  t.equal((await plain).status, 503)

  const next = await startGateway(t, options)
  const seen = await credits(next, token)
  t.equal(seen.held, 0)
  t.ok(seen.charged > 0)
  t.equal(seen.credited, seen.balance + seen.charged)
})

t.test('going down: with a delay, new work is served while the edge is told to go elsewhere', async (t) => {
  const { provider, options } = await openScene(t)
  const gateway = await startGateway(t, { ...options, env: { ...options.env, DRAIN_DELAY_MS: '1500' } })
  const token = await mintToken(t, gateway)
  provider.answer(chatStream())
  gateway.signal('SIGTERM')
  await gateway.waitForLine(({ msg }) => msg === 'draining')
  t.equal((await get(gateway, '/ready')).status, 503, 'an edge that asks sees it')
  t.equal((await post(gateway, CHAT, ask(true), bearer(token))).status, 200, 'whoever still comes is served')
  t.equal((await gateway.exited).code, 0)
})

/** Supervisors and npm say the same order twice, within a moment. */
const SAME_ORDER_MS = 2_000

t.test('a second signal is the same order at first, and ends it at once after two seconds', async (t) => {
  const { provider, options } = await openScene(t)
  const gateway = await startGateway(t, options)
  const token = await mintToken(t, gateway)
  provider.queue(hang())
  const plain = post(gateway, CHAT, ask(false), bearer(token)).catch(() => undefined)
  await provider.waitForRequest()
  gateway.signal('SIGTERM')
  await gateway.waitForLine(({ msg }) => msg === 'draining')
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGTERM'] as const) gateway.signal(signal)
  t.equal(await Promise.race([gateway.exited, wait(SAME_ORDER_MS + 100, 'it waits on')]), 'it waits on')
  const { code, ms } = await gateway.stop()
  t.equal(code, 1)
  t.ok(ms < 1000)
  await plain
})

const FLYING = 50

t.test('kill -9 with a hundred requests in flight loses no charge and leaves no hold', async (t) => {
  const { provider, options } = await openScene(t)
  const gateway = await startGateway(t, options)
  const token = await mintToken(t, gateway, { credits: 10_000_000 })
  let acknowledged = 0
  for (let round = 0; round < 20; round++) {
    const { headers } = await post(gateway, CHAT, ask(false), bearer(token))
    acknowledged += Number(headers['x-gateway-credits-charged'])
  }
  t.ok(acknowledged > 0)
  provider.answer(({ body }) =>
    body.includes('"stream":true') ? endless({ eventsPerSecond: 2, event: event('a') }) : hang(),
  )
  const streams = await Promise.all(
    Array.from({ length: FLYING }, () =>
      openStream(gateway, { path: CHAT, body: ask(true), headers: bearer(token) }),
    ),
  )
  const plain = Array.from({ length: FLYING }, () =>
    post(gateway, CHAT, ask(false), bearer(token)).catch(() => 'gone'),
  )
  await provider.waitForRequest(20 + 2 * FLYING)
  t.ok((await credits(gateway, token)).held > 0)
  const rests = streams.map((stream) => stream.rest())
  await gateway.kill9()
  const ends = await Promise.all(rests)
  t.ok(ends.every(({ cut }) => cut))
  t.strictSame([...new Set(await Promise.all(plain))], ['gone'])

  const next = await startGateway(t, options)
  const seen = await credits(next, token)
  t.equal(seen.held, 0)
  t.equal(seen.credited, seen.balance + seen.charged)
  t.ok(seen.charged >= acknowledged, 'every charge that a client was told of is there')
  provider.answer(chatStream())
  t.equal((await post(next, CHAT, ask(true), bearer(token))).status, 200)
})
