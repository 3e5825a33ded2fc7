import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { healthy } from '../support/answers.ts'
import { bearer, credits, get, openStream, post } from '../support/client.ts'
import { failGateway, mintToken, runTokenGen, startGateway, type TestGateway } from '../support/gateway.ts'
import { ask, openScene } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import type { Owner } from '../support/waiting.ts'

const CHAT = '/v1/chat/completions'
const event = (content: string) => `data: {"choices":[{"index":0,"delta":{"content":"${content}"}}]}\n\n`

/** Two servers of one folder, the second of which was told to take over. */
async function openBoth(t: Owner) {
  const scene = await openScene(t)
  const first = await startGateway(t, scene.options)
  const token = await mintToken(t, first)
  const env = { ...scene.options.env, STORE_TAKEOVER: 'on', ADMIN_FIRST: first.masterToken }
  // The first one lets it in a moment after it listens.
  const next = await startGateway(t, { ...scene.options, env })
  scene.provider.answer(healthy())
  return { ...scene, first, next, token, nextOptions: { ...scene.options, env } }
}

/** Asks one after the other, with and without an answer that is kept, until it is told to stop. */
function keepAsking(target: TestGateway, token: string) {
  const statuses: number[] = []
  let [isOver, slowestMs] = [false, 0]
  const one = async (): Promise<void> => {
    while (!isOver) {
      const from = performance.now()
      const key = Math.random() < 0.3 ? { 'idempotency-key': crypto.randomUUID() } : {}
      const { status } = await post(target, CHAT, ask(false), { ...bearer(token), ...key })
      statuses.push(status)
      slowestMs = Math.max(slowestMs, performance.now() - from)
    }
  }
  const all = Promise.all(Array.from({ length: 8 }, one))
  return {
    end: async () => {
      isOver = true
      await all
      return { refused: statuses.filter((status) => status !== 200), asked: statuses.length, slowestMs }
    },
  }
}

const isTakenOver = ({ msg }: { msg: string }) => /is taken over/.test(msg)

t.test(
  'an update: the successor serves before the first one drains, and has the files once it ends',
  async (t) => {
    const { provider, first, next, token, options } = await openBoth(t)
    const running = controlled()
    provider.queue(running)
    const stream = await openStream(first, { path: CHAT, body: ask(true), headers: bearer(token) })
    await running.write(event('one'))
    const load = keepAsking(next, token)
    await sleep(300)
    const draining = first.stop()
    await sleep(500)
    t.equal((await get(next, '/ready')).status, 200)
    await running.write(event('two'))
    await running.write('data: [DONE]\n\n')
    await running.end()
    const { text, cut } = await stream.rest()
    t.notOk(cut)
    t.match(text, /one.*two.*DONE/s)
    t.equal((await draining).code, 0)
    const taken = await next.waitForLine(isTakenOver)
    t.ok(Number(taken.waitedMs) < 500, `nobody had the files for ${taken.waitedMs} ms`)
    await sleep(500)
    const { refused, asked, slowestMs } = await load.end()
    t.comment(
      `${asked} requests meanwhile, the slowest took ${Math.round(slowestMs)} ms; ${taken.waitedMs} ms between the two`,
    )
    t.same(refused, [], 'no request is refused')
    t.ok(asked > 100)

    const made = await runTokenGen(t, options.dbDir, ['--type', 'user', '--userName', 'late', '--token', '5'])
    t.equal(made.code, 0, 'the token command reaches the successor')
    const seen = await credits(next, token)
    t.equal(seen.held, 0)
    t.equal(seen.credited, seen.balance + seen.charged)
    t.equal((await next.stop()).code, 0)
    const { books, faults } = await readBooks({ dbDir: options.dbDir })
    t.same(faults, [])
    for (const { chargedMicros, rowsMicros, heldMicros } of books)
      t.same([rowsMicros, heldMicros], [chargedMicros, 0])
  },
)

t.test('the first one is killed: the successor goes on, and what it cut is charged once', async (t) => {
  const { provider, first, next, token } = await openBoth(t)
  const [cut, whole] = [controlled(), controlled()]
  provider.queue(cut, whole)
  const lost = await openStream(first, { path: CHAT, body: ask(true), headers: bearer(token) })
  await cut.write(event('one'))
  const stream = await openStream(next, { path: CHAT, body: ask(true), headers: bearer(token) })
  await whole.write(event('one'))
  const load = keepAsking(next, token)
  await sleep(200)
  const rest = lost.rest()
  await first.kill9()
  await next.waitForLine(isTakenOver)
  t.ok((await rest).cut)
  await whole.write(event('two'))
  await whole.write('data: [DONE]\n\n')
  await whole.end()
  t.match((await stream.rest()).text, /one.*two.*DONE/s)
  t.same((await load.end()).refused, [])
  const seen = await credits(next, token)
  t.equal(seen.held, 0)
  t.equal(seen.credited, seen.balance + seen.charged)
  t.equal((await next.stop()).code, 0)
})

t.test('the successor is killed: the first one serves on, and gives back what it held', async (t) => {
  const { provider, first, next, token } = await openBoth(t)
  const running = controlled()
  provider.queue(running)
  const stream = await openStream(next, { path: CHAT, body: ask(true), headers: bearer(token) })
  await running.write(event('one'))
  const rest = stream.rest()
  const load = keepAsking(first, token)
  await next.kill9()
  t.ok((await rest).cut)
  t.same((await load.end()).refused, [])
  for (const until = Date.now() + 10_000; Date.now() < until; await sleep(100))
    if ((await credits(first, token)).held === 0) break
  const seen = await credits(first, token)
  t.equal(seen.held, 0)
  t.equal(seen.credited, seen.balance + seen.charged)
})

t.test(
  'the first one hangs: the successor refuses in time, and what came too late is given back',
  async (t) => {
    const { first, next, token } = await openBoth(t)
    first.signal('SIGSTOP')
    const from = performance.now()
    const replies = await Promise.all(
      Array.from({ length: 5 }, () => post(next, CHAT, ask(false), bearer(token))),
    )
    t.same(new Set(replies.map(({ status }) => status)), new Set([503]))
    t.ok(performance.now() - from < 9_000)
    t.equal((await get(next, '/ready')).status, 503, 'an edge that asks sees it')
    first.signal('SIGCONT')
    for (const until = Date.now() + 10_000; Date.now() < until; await sleep(100))
      if ((await get(next, '/ready')).status === 200) break
    t.equal((await post(next, CHAT, ask(false), bearer(token))).status, 200)
    const seen = await credits(next, token)
    t.equal(seen.held, 0)
    t.equal(seen.credited, seen.balance + seen.charged)
  },
)

t.test('a token has its minute once, whichever of the two it asks, and goes on where it was', async (t) => {
  const { first, next } = await openBoth(t)
  const few = await mintToken(t, first, { user: 'few', perMinute: 8 })
  const other = await mintToken(t, first, { user: 'other', perMinute: 3 })
  const leftAt = async (gateway: TestGateway, token: string) =>
    Number((await get(gateway, '/v1/token', bearer(token))).headers['x-ratelimit-remaining-requests'])
  t.same([await leftAt(first, few), await leftAt(next, few), await leftAt(first, few)], [7, 6, 5])
  t.same([await leftAt(first, other), await leftAt(first, other)], [2, 1])
  // Once a second the successor is told of all minutes that run.
  await sleep(1_500)
  await first.kill9()
  await next.waitForLine(isTakenOver)
  t.same([await leftAt(next, few), await leftAt(next, few)], [4, 3])
  t.same([await leftAt(next, other), (await get(next, '/v1/token', bearer(other))).status], [0, 429])
})

t.test('a server that hands nothing over is not taken over from', async (t) => {
  const { options } = await openScene(t)
  const older = await openStores({ dbDir: options.dbDir })
  t.teardown(() => older.close())
  const env = { ...options.env, STORE_TAKEOVER: 'on' }
  const { code, stderr } = await failGateway(t, { ...options, env })
  t.equal(code, 78)
  t.match(stderr, /Another server uses DB_DIR .*hands nothing over/)
})
