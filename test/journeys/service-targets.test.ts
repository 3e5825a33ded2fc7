import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { type CheckedService, startCheckedService } from '../support/checked-service.ts'
import { bearer, get, post, type Reply } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'

const HEALTH = { path: '/well', everyMs: 500, timeoutMs: 200, failures: 1, successes: 1 }

/** What each route says beside its targets. */
const ROUTES: Record<string, object> = {
  turns: {},
  slow: { balance: 'least-in-flight', timeouts: { firstByteMs: 20_000 } },
  restarts: {},
  hangs: {},
  resets: { retry: { attempts: 2, on: ['dial', 'reset'] } },
  gone: {},
  leaving: { timeouts: { firstByteMs: 20_000 } },
  bodies: { limits: { bodyBytes: 10 }, timeouts: { firstByteMs: 20_000 } },
  cookie: { sticky: { cookie: 'sid' } },
  header: { sticky: { header: 'X-Session' } },
  checked: { health: HEALTH },
  counted: {},
}

interface Pair {
  one: CheckedService
  two: CheckedService
}

/** Two backends behind each route, each of which answers with its name. */
const pairs = new Map<string, Pair>()
for (const name of Object.keys(ROUTES)) {
  const [one, two] = await Promise.all([startCheckedService(t, 'one'), startCheckedService(t, 'two')])
  pairs.set(name, { one, two })
}
const modelsFile = join(temporaryFolder(t), 'models.yaml')
const targetsOf = ({ one, two }: Pair) => [one.origin, two.origin]

function writeRoutes(targets: (name: string, pair: Pair) => readonly string[]): void {
  const timeouts = { connectMs: 500, firstByteMs: 300 }
  const rows = Array.from(pairs, ([name, pair]) => {
    const route = { name, to: targets(name, pair), auth: 'open', timeouts, ...ROUTES[name] }
    return [`/api/${name}`, route] as const
  })
  writeFileSync(modelsFile, stringify({ services: Object.fromEntries(rows) }))
}

writeRoutes((_name, pair) => targetsOf(pair))
const env = {
  SERVICE_REQUESTS_PER_MINUTE: '1000000',
  METRICS_KEY: 'a-key-for-prometheus',
  BODY_TIMEOUT_MS: '300',
}
const gateway = await startGateway(t, { modelsFile, env })
const WATCHER = bearer(await mintToken(t, gateway, { user: 'watcher', type: 'admin', credits: 0 }))

/** One of the routes, as its clients and those who watch it see it. */
function route(name: string) {
  const { one, two } = pairs.get(name) ?? {}
  if (!one || !two) throw new Error(`no route ${name}`)
  const ask = (headers = {}) => get(gateway, `/api/${name}/1`, headers)
  const names = async (times: number, headers = {}) => {
    const replies: Reply[] = []
    for (let i = 0; i < times; i++) replies.push(await ask(headers))
    return replies.map(({ status, text }) => (status === 200 ? text : String(status)))
  }
  const report = async () => {
    const { services } = JSON.parse((await get(gateway, '/health/services', WATCHER)).text)
    return services.find((service: { name: string }) => service.name === name)
  }
  return { one, two, ask, names, report }
}

/** The first that comes back to these very bytes. */
function answerTo(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(gateway.port, '127.0.0.1', () => socket.write(bytes))
    socket.once('error', reject)
    socket.once('data', (piece) => {
      resolve(piece.toString('latin1'))
      socket.destroy()
    })
  })
}

t.test('requests go to both of two backends in turn', async (t) => {
  const { names } = route('turns')
  const seen = await names(6)
  t.same(
    seen,
    seen[0] === 'one'
      ? ['one', 'two', 'one', 'two', 'one', 'two']
      : ['two', 'one', 'two', 'one', 'two', 'one'],
  )
})

t.test('a backend that restarts costs no client an answer, and comes back', async (t) => {
  const { names, one, report } = route('restarts')
  await names(4)
  await one.stop()
  t.same(await names(20), Array(20).fill('two'))
  t.match(await report(), {
    prefix: '/api/restarts',
    status: 'degraded',
    targets: [
      { target: one.origin, state: 'resting', inFlight: 0, lastFailure: { reason: 'ECONNREFUSED' } },
      { state: 'up', lastFailure: undefined },
    ],
  })
  await one.start()
  await waitUntil(
    () => names(2),
    (seen) => seen.includes('one'),
  )
  t.same(new Set(await names(4)), new Set(['one', 'two']))
  t.equal((await report()).status, 'ok')
})

t.test(
  'a backend that hangs is late for three clients and, while the other is well, for no more',
  async (t) => {
    const { names, one } = route('hangs')
    one.mood = 'hanging'
    const seen = await names(12)
    t.equal(seen.filter((name) => name === '504').length, 3)
    t.same(seen.slice(6), Array(6).fill('two'))
  },
)

t.test(
  'a backend that is slow gets fewer requests where the fewest in flight count, and rests never',
  async (t) => {
    const { names, one, two, report } = route('slow')
    one.mood = 'slow'
    const seen = (await Promise.all(Array.from({ length: 4 }, () => names(10)))).flat()
    t.equal(seen.length, 40)
    t.same(new Set(seen), new Set(['one', 'two']))
    t.ok(two.asked.length > 2 * one.asked.length, `${one.asked.length} to ${two.asked.length}`)
    t.equal((await report()).status, 'ok')
  },
)

t.test('a backend that resets is asked elsewhere where the route says so, and rests', async (t) => {
  const { names, one } = route('resets')
  one.mood = 'resetting'
  t.same(await names(10), Array(10).fill('two'))
  t.equal(one.asked.length, 3, 'then it rested')
})

t.test('where both are gone each is tried; one that is back serves at once', async (t) => {
  const { names, ask, one, two, report } = route('gone')
  await Promise.all([one.stop(), two.stop()])
  for (const { status, text } of [await ask(), await ask(), await ask(), await ask(), await ask()]) {
    t.equal(status, 502)
    t.notMatch(text, /127\.0\.0\.1|ECONN/)
  }
  t.equal((await report()).status, 'down')
  await two.start()
  t.same(await names(5), Array(5).fill('two'))
})

t.test('clients that leave make no backend rest', async (t) => {
  const { one, two, report, names } = route('leaving')
  one.mood = two.mood = 'hanging'
  for (let i = 0; i < 8; i++) {
    const asked = one.asked.length + two.asked.length
    const leaving = new AbortController()
    const asking = fetch(`${gateway.url}/api/leaving/1`, { signal: leaving.signal }).catch(() => undefined)
    await waitUntil(
      () => one.asked.length + two.asked.length,
      (count) => count > asked,
    )
    leaving.abort()
    await asking
  }
  one.mood = two.mood = 'well'
  await waitUntil(report, ({ targets }) =>
    targets.every(({ inFlight }: { inFlight: number }) => inFlight === 0),
  )
  t.equal((await report()).status, 'ok')
  t.same(new Set(await names(2)), new Set(['one', 'two']))
})

t.test('bodies that are too long, or do not come, make no backend rest', async (t) => {
  const { one, two, report } = route('bodies')
  one.mood = two.mood = 'hanging'
  const large = await Promise.all(
    Array.from({ length: 8 }, () => post(gateway, '/api/bodies/1', 'x'.repeat(100))),
  )
  t.same(new Set(large.map(({ status }) => status)), new Set([413]))
  const head = (more: string) => `POST /api/bodies/1 HTTP/1.1\r\nhost: a\r\n${more}\r\n\r\n`
  const chunk = `14\r\n${'x'.repeat(20)}\r\n`
  const begun = [
    ...Array(8).fill([`${head('content-length: 9')}x`, /^HTTP\/1.1 408 /]),
    ...Array(8).fill([head('transfer-encoding: chunked') + chunk, /^HTTP\/1.1 413 /]),
  ]
  await Promise.all(begun.map(async ([bytes, status]) => t.match(await answerTo(bytes), status)))
  t.ok(one.asked.length > 2 && two.asked.length > 2)
  const seen = await waitUntil(report, ({ targets }) =>
    targets.every(({ inFlight }: { inFlight: number }) => inFlight === 0),
  )
  t.match(seen, { status: 'ok', targets: [{ lastFailure: undefined }, { lastFailure: undefined }] })
})

t.test('a cookie of the gateway keeps a client with its backend, also over a re-read', async (t) => {
  const { ask, names, one, two } = route('cookie')
  const first = await ask()
  const [line = ''] = first.headers['set-cookie'] ?? []
  t.match(line, /^gateway-sid=[\w-]{16}; Path=\/api\/cookie; HttpOnly; SameSite=Lax$/)
  const headers = { cookie: line.split(';')[0] ?? '' }
  t.same(await names(6, headers), Array(6).fill(first.text))
  t.equal((await ask(headers)).headers['set-cookie'], undefined)
  const third = await startCheckedService(t, 'three')
  writeRoutes((name, pair) =>
    name === 'cookie' ? [third.origin, ...targetsOf(pair).toReversed()] : targetsOf(pair),
  )
  await waitUntil(
    () => names(3),
    (seen) => seen.includes('three'),
  )
  t.same(await names(6, headers), Array(6).fill(first.text))
  await (first.text === 'one' ? one : two).stop()
  const moved = await ask(headers)
  t.equal(moved.status, 200)
  t.match(moved.headers['set-cookie'], [/^gateway-sid=/])
})

t.test('a header keeps its backend', async (t) => {
  const { names } = route('header')
  const all = new Set<string>()
  for (let i = 0; i < 12; i++) {
    const [first = '', ...rest] = await names(3, { 'x-session': `s${i}` })
    t.same(rest, [first, first])
    all.add(first)
  }
  t.equal(all.size, 2)
})

t.test('checks take a backend out before any client meets it', async (t) => {
  const { names, one, two, report } = route('checked')
  one.mood = 'failing'
  const down = await waitUntil(report, ({ status }) => status === 'degraded')
  t.match(down.targets, [
    { target: one.origin, state: 'down', check: { path: '/well', state: 'down', reason: '503', at: /Z$/ } },
    { target: two.origin, state: 'up', check: { state: 'up', reason: undefined } },
  ])
  t.same(await names(4), Array(4).fill('two'))
  one.mood = 'well'
  await waitUntil(report, ({ status }) => status === 'ok')
  t.same(new Set(await names(4)), new Set(['one', 'two']))
})

t.test('the state of services is for admins, and health itself asks nobody', async (t) => {
  const { one } = route('turns')
  const look = (headers = {}) => get(gateway, '/health/services', headers)
  t.match(await look(), { status: 401 })
  t.match(await look(bearer('gw-nobody')), { status: 401 })
  const refused = await look(bearer(await mintToken(t, gateway)))
  t.equal(refused.status, 403)
  t.match(JSON.parse(refused.text), { error: { code: 'insufficient_rights' } })
  t.notMatch(refused.text, String(one.port))
  t.equal((await look(bearer(env.METRICS_KEY))).status, 401, 'the key of the metrics opens nothing else')
  const seen = await look(WATCHER)
  t.match(seen, { status: 200, headers: { 'cache-control': 'no-store' } })
  t.match(JSON.parse(seen.text), { status: /ok|degraded/, services: [{ name: 'turns', status: 'ok' }] })
  t.equal((await post(gateway, '/health/services', {}, WATCHER)).status, 404)
  const asked = one.asked.length
  t.same(JSON.parse((await get(gateway, '/health')).text), { status: 'ok' })
  t.equal(one.asked.length, asked)
  const lines = gateway.lines().filter(({ route, status }) => route === '/health/services' && status === 200)
  t.same(lines, [], 'who looks every few seconds leaves no line')
})

t.test('failures, targets and what runs are metrics by route', async (t) => {
  const { names, one, two } = route('counted')
  const scrape = async () => (await get(gateway, '/metrics', WATCHER)).text
  await names(4)
  t.match(await scrape(), `gateway_service_target_up{route="counted",target="${one.origin}"} 1`)
  two.mood = 'failing'
  await names(4)
  await one.stop()
  await names(6)
  const text = await scrape()
  t.match(text, /gateway_service_failures_total{route="counted",reason="ECONNREFUSED"} \d/)
  t.match(text, /gateway_service_failures_total{route="counted",reason="503"} \d/)
  t.match(text, `gateway_service_target_up{route="counted",target="${one.origin}"} 0`)
  t.match(text, 'gateway_service_in_flight{route="counted"} 0')
  t.match(text, /gateway_service_first_byte_seconds_count{route="counted"} \d/)
})
