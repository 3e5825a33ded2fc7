import { EventEmitter, once } from 'node:events'
import { connect, type Socket } from 'node:net'
import Fastify, { type FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import type { Caller } from '../../src/auth/caller.ts'
import type { RouteLimits, ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import { errorReply } from '../../src/entrance/error-reply.ts'
import { storeUnavailable } from '../../src/errors.ts'
import { type CountingOptions, openCounting } from '../../src/limits/counting.ts'
import { rateLimit } from '../../src/limits/requests.ts'
import { routeLimits } from '../../src/limits/route-limits.ts'
import { DAY_MS, MINUTE_MS } from '../../src/limits/windows.ts'
import type { OwnCounts } from '../../src/stores/contracts/places.ts'
import type { Token } from '../../src/stores/contracts/tokens.ts'
import { waitUntil } from '../support/journey.ts'
import { routeOf } from '../support/service-rows.ts'

const TOKEN: Token = {
  ...{ id: 'tok_1', hash: '', prefix: '', type: 'user', user: 'ann', name: '', models: [], createdAt: 0 },
}

const tokenOf = (id: string, own: Partial<Token> = {}): Caller => ({
  kind: 'token',
  id,
  user: 'ann',
  token: { ...TOKEN, id, ...own },
})

const personOf = (id: string, issuer = 'https://id.example.com'): Caller => ({
  ...{ kind: 'person', id, issuer, claims: {}, userId: id, userClaims: '{}', expiresAt: 0, lease: '' },
})

interface Asked {
  caller?: Caller
  address?: string
  path?: string
  method?: 'GET' | 'OPTIONS'
  headers?: Record<string, string>
}

interface Scene extends CountingOptions {
  perMinute?: number
  /** The routes by their prefixes; `/second/...` is asked in another scope. */
  routes: Record<string, RouteLimits | Partial<ServiceRoute>>
}

/** An app with two doors, whose callers are known by what a test says. */
async function open(t: Test, { perMinute, routes, ...counted }: Scene) {
  const app = Fastify({ trustProxy: ['127.0.0.1'] })
  t.teardown(() => app.close())
  await app.register(errorReply)
  const callers = new Map<string, Caller>()
  const auth = fp(
    async (scope) => {
      scope.decorateRequest('token')
      scope.addHook('onRequest', (request, _reply, done) => {
        request.caller = callers.get(String(request.headers['x-caller']))
        if (request.caller?.kind === 'token') request.token = request.caller.token
        done()
      })
    },
    { name: 'client-auth' },
  )
  const table = new Map(
    Object.entries(routes).map(([prefix, said]) => {
      const limits = 'limits' in said || 'serves' in said ? said : { limits: said as RouteLimits }
      return [prefix, routeOf({ prefix, name: prefix, ...limits })]
    }),
  )
  const counting = openCounting(counted)
  const limit = routeLimits(app, {
    ...{ counting, perMinute, ipv6PrefixBits: 64 },
    serviceOf: ({ url }) => {
      const route = table.get(url.split('?', 1)[0] ?? '')
      return route && { route, entry: route.entry }
    },
  })
  const running = new EventEmitter()
  const doorAt =
    (url: string): FastifyPluginAsync =>
    async (door) => {
      await door.register(auth)
      await door.register(rateLimit, { counting, header: 'plain' })
      door.addHook('onRequest', limit)
      door.route({
        method: ['GET', 'OPTIONS'],
        url,
        handler: async (request) => {
          if (request.headers['x-slow']) {
            running.emit('here')
            await once(running, 'go')
          }
          return { isAdmitted: request.isAdmitted }
        },
      })
    }
  await app.register(doorAt('/:name'))
  await app.register(doorAt('/second/:name'))
  const ask = ({ caller, address = '192.0.2.1', path = '/a', method = 'GET', headers = {} }: Asked = {}) => {
    const name = JSON.stringify(caller ?? null)
    if (caller) callers.set(name, caller)
    return app.inject({
      method,
      url: path,
      headers: { 'x-caller': name, 'x-forwarded-for': address, ...headers },
    })
  }
  return { app, ask, counting, running }
}

t.test('each caller of a route has its own minute, and reads where it stands', async (t) => {
  const { ask } = await open(t, { routes: { '/a': { perMinute: 2 }, '/b': { perMinute: 2 } } })
  const ann = tokenOf('tok_ann')
  for (const remaining of ['1', '0']) {
    const answer = await ask({ caller: ann })
    t.match(answer.json(), { isAdmitted: true })
    t.match(answer.headers, {
      'x-ratelimit-limit-requests': '2',
      'x-ratelimit-remaining-requests': remaining,
      'x-ratelimit-reset-requests': /^(1m0s|59.*s)$/,
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': remaining,
      'x-ratelimit-reset': /^(60|59)$/,
    })
  }
  const refused = await ask({ caller: ann })
  t.equal(refused.statusCode, 429)
  t.match(refused.json(), { error: { code: 'rate_limit_exceeded', message: /2 requests a minute/ } })
  t.match(refused.headers, { 'retry-after': /^(60|59)$/, 'x-ratelimit-remaining': '0' })
  t.equal((await ask({ caller: tokenOf('tok_bob') })).statusCode, 200, 'another token is not touched')
  t.equal((await ask({ caller: ann, path: '/b' })).statusCode, 200, 'another route neither')
  t.equal((await ask({ caller: personOf('tok_ann') })).statusCode, 200, 'nor a person of that name')
})

t.test('persons count by issuer and subject, anybody by address and IPv6 prefix', async (t) => {
  const { ask } = await open(t, { perMinute: 1, routes: { '/a': {} } })
  const statusOf = async (asked: Asked) => (await ask(asked)).statusCode
  t.same([await statusOf({ caller: personOf('7') }), await statusOf({ caller: personOf('7') })], [200, 429])
  t.equal(await statusOf({ caller: personOf('7', 'https://other.example.com') }), 200)
  t.equal(await statusOf({ caller: personOf('b', 'a ') }), 200)
  t.equal(await statusOf({ caller: personOf(' b', 'a') }), 200, 'no two persons are one')
  const long = 'x'.repeat(5_000)
  t.same([await statusOf({ caller: personOf(long) }), await statusOf({ caller: personOf(long) })], [200, 429])
  t.equal(await statusOf({ caller: personOf(`${long}y`) }), 200)
  t.equal(await statusOf({ address: '2001:db8:1:2::1' }), 200)
  t.equal(await statusOf({ address: '2001:db8:1:2:ffff::9' }), 429, 'of the same /64')
  t.equal(await statusOf({ address: '2001:db8:1:3::1' }), 200)
  t.equal(await statusOf({ caller: { kind: 'anybody', id: '192.0.2.9' }, address: '192.0.2.9' }), 200)
  t.equal(await statusOf({ address: '192.0.2.9' }), 429)
})

t.test('without a limit of the route tokens have their own alone, all others the default', async (t) => {
  const { ask } = await open(t, { perMinute: 2, routes: { '/a': {}, '/b': { perMinute: 5 } } })
  for (let n = 0; n < 6; n++) {
    const answer = await ask({ caller: tokenOf('tok_free') })
    t.equal(answer.statusCode, 200)
    t.notOk(answer.headers['x-ratelimit-limit'])
  }
  const statuses = []
  for (let n = 0; n < 3; n++) statuses.push((await ask({ caller: personOf('7') })).statusCode)
  t.same(statuses, [200, 200, 429])
  t.match((await ask({ caller: personOf('7'), path: '/b' })).headers, { 'x-ratelimit-limit': '5' })
})

t.test('the headers tell the limit that is nearest to its end, the token’s or the route’s', async (t) => {
  const { ask } = await open(t, { routes: { '/a': { perMinute: 3 }, '/b': { perMinute: 100, perDay: 50 } } })
  const ann = tokenOf('tok_ann', { requestsPerMinute: 5 })
  const read = async (path: string) => {
    const { headers, statusCode } = await ask({ caller: ann, path })
    return [statusCode, headers['x-ratelimit-limit-requests'], headers['x-ratelimit-remaining']]
  }
  t.same(await read('/a'), [200, '3', '2'])
  t.same(await read('/b'), [200, '5', '3'])
  t.same(await read('/a'), [200, '3', '1'])
  t.same(await read('/b'), [200, '5', '1'])
  t.same(await read('/a'), [200, '5', '0'], 'both are at their end: what all routes share')
  t.same(await read('/b'), [429, '5', '0'], 'the token’s own limit, in plain names as well')
})

t.test('a route’s day ends at midnight UTC, and what the minute refuses does not use it up', async (t) => {
  let now = Date.UTC(2027, 0, 2) - 90_000
  const { ask } = await open(t, {
    now: () => now,
    routes: { '/a': { perDay: 2 }, '/b': { perMinute: 1, perDay: 3 } },
  })
  const caller = tokenOf('tok_ann')
  t.match((await ask({ caller })).headers, { 'x-ratelimit-limit': '2', 'x-ratelimit-reset': '90' })
  await ask({ caller })
  const refused = await ask({ caller })
  t.equal(refused.statusCode, 429)
  t.match(refused.json(), { error: { message: /2 requests a day/ } })
  t.equal(refused.headers['retry-after'], '90')
  now += 90_000
  t.equal((await ask({ caller })).statusCode, 200)
  const { ask: askNew, counting } = await open(t, { routes: { '/b': { perMinute: 1, perDay: 3 } } })
  for (let n = 0; n < 5; n++) await askNew({ caller, path: '/b' })
  const day = await counting.count('route both /b token tok_ann', DAY_MS)
  t.equal(day.current, 2, 'one of the five, and this look')
})

t.test('a preflight is no request; a plain OPTIONS is one', async (t) => {
  const { ask } = await open(t, { routes: { '/a': { perMinute: 2 } } })
  const caller = tokenOf('tok_ann')
  for (let n = 0; n < 5; n++) {
    const preflight = { 'access-control-request-method': 'PUT', origin: 'https://app.example.com' }
    const answer = await ask({ caller, method: 'OPTIONS', headers: preflight })
    t.equal(answer.statusCode, 200)
    t.match(answer.json(), { isAdmitted: true })
  }
  t.equal((await ask({ caller, method: 'OPTIONS' })).headers['x-ratelimit-remaining'], '1')
})

t.test('what calls itself a preflight has no end either, and takes a place of those at once', async (t) => {
  const { ask, running } = await open(t, {
    perMinute: 150,
    routes: { '/a': { perDay: 2 }, '/b': { perMinute: 2 }, '/c': { inFlight: 1 } },
  })
  const headers = { 'access-control-request-method': 'PUT', origin: 'https://app.example.com' }
  const question = (path: string, more: object = {}) =>
    ask({ path, method: 'OPTIONS', headers: { ...headers, ...more } })
  for (const [path, most] of [
    ['/a', 1_500],
    ['/b', 1_000],
  ] as const) {
    for (let n = 0; n < most; n++) await question(path)
    const refused = await question(path)
    t.equal(refused.statusCode, 429, path)
    t.ok(Number(refused.headers['retry-after']) > 0)
    const asked = await ask({ path })
    t.match(asked, { statusCode: 200, headers: { 'x-ratelimit-remaining': '1' } }, 'requests are not fewer')
    t.equal((await ask({ path, method: 'OPTIONS', headers, address: '192.0.2.2' })).statusCode, 200)
  }
  const here = once(running, 'here')
  const first = question('/c', { 'x-slow': '1' })
  await here
  t.equal((await question('/c')).statusCode, 429)
  running.emit('go')
  t.equal((await first).statusCode, 200)
})

t.test('a route takes so many requests at once, of all callers and through all doors together', async (t) => {
  const { app, running } = await open(t, {
    routes: {
      '/a': { inFlight: 3 },
      '/second/a': { prefix: '/a', limits: { inFlight: 3 } },
      '/b': { inFlight: 1 },
    },
  })
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  const sockets: Socket[] = []
  const begin = async (path: string) => {
    const socket = connect(Number(port), '127.0.0.1')
    sockets.push(socket)
    socket.on('error', () => undefined)
    socket.write(`GET ${path} HTTP/1.1\r\nhost: gateway\r\nx-slow: 1\r\n\r\n`)
    return socket
  }
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  const statusOf = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status
  const isFull = (path: string) =>
    waitUntil(
      () => statusOf(path),
      (status) => status === 429,
    )
  for (let n = 0; n < 3; n++) await begin('/a')
  await isFull('/a')
  t.equal(await statusOf('/second/a'), 429, 'the same route through another door')
  t.equal(await statusOf('/b'), 200, 'another route has places of its own')
  sockets[0]?.destroy()
  await waitUntil(
    () => statusOf('/a'),
    (status) => status === 200,
  )
  // A place is free again a moment after its answer was read.
  await waitUntil(
    async () => {
      await begin('/a')
      return statusOf('/a')
    },
    (status) => status === 429,
  )
  running.emit('go')
  await waitUntil(
    () => statusOf('/a'),
    (status) => status === 200,
  )
  const answers = await Promise.all(Array.from({ length: 100 }, () => statusOf('/a')))
  t.ok(answers.every((status) => status === 200 || status === 429))
  t.equal(await statusOf('/a'), 200, 'and all places are free again')
})

t.test('WebSockets and HTTP of one path, if they are two routes, have limits of their own', async (t) => {
  const routes = {
    '/a': { serves: 'http', limits: { perMinute: 1 } },
    '/b': { serves: 'websocket', limits: { perMinute: 1 } },
  } as const
  const { ask, counting } = await open(t, { routes })
  const caller = tokenOf('tok_ann')
  await ask({ caller })
  await ask({ caller, path: '/b' })
  for (const key of ['route http /a token tok_ann', 'route websocket /b token tok_ann'])
    t.match(await counting.count(key, MINUTE_MS), { current: 2 })
})

t.test('a hundred requests at once on a limit of ten: ten pass, counted here or in a store', async (t) => {
  const seen = new Map<string, number>()
  const shared = {
    count: async (key: string) => {
      const count = (seen.get(key) ?? 0) + 1
      seen.set(key, count)
      await new Promise((done) => setTimeout(done, Math.random() * 20))
      return { count, endsInMs: 60_000 }
    },
  }
  for (const counts of [undefined, shared]) {
    const { ask } = await open(t, { counts, routes: { '/a': { perMinute: 10, perDay: 1_000 } } })
    const caller = tokenOf('tok_ann')
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask({ caller })))
    t.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 10)
  }
  t.equal(seen.size, 1, 'one name, whose windows the store tells apart')
})

t.test('nobody passes uncounted: a store that is away is 503', async (t) => {
  const counts = {
    count: async () => {
      throw storeUnavailable('The balances cannot be reached just now')
    },
  }
  const { ask } = await open(t, { counts, perMinute: 5, routes: { '/a': { perMinute: 10 }, '/b': {} } })
  for (const asked of [{ caller: tokenOf('tok_ann') }, { caller: personOf('7') }, { path: '/b' }]) {
    const answer = await ask(asked)
    t.equal(answer.statusCode, 503)
    t.match(answer.json(), { error: { code: 'store_unavailable' } })
  }
  t.equal((await ask({ caller: tokenOf('tok_ann'), path: '/b' })).statusCode, 200, 'here nothing is counted')
})

t.test('a flood of callers of routes makes no token’s limit forgotten', async (t) => {
  let own: OwnCounts | undefined
  const written: string[] = []
  const { counting } = await open(t, {
    routes: {},
    onCounts: (counts) => {
      own = counts
    },
    days: () => ({
      read: () =>
        new Map([
          ['tok_1', 7],
          ['route both /a token tok_1', 3],
        ]),
      write: (_day, counts) => {
        written.push(...counts.keys())
        return true
      },
    }),
  })
  t.match(await counting.count('tok_1', DAY_MS), { current: 8 }, 'on from the server before')
  t.match(await counting.count('route both /a token tok_1', DAY_MS), { current: 4 })
  await counting.count('tok_1', MINUTE_MS)
  for (let n = 0; n < 20; n++) await counting.count('route both /a token tok_busy', MINUTE_MS)
  for (let n = 0; n < 1_010_000; n++) {
    const key = `route both /a address ${n}`
    void counting.count(key, MINUTE_MS)
    if (n < 120_000) void counting.count(key, DAY_MS)
  }
  t.match(await counting.count('tok_1', MINUTE_MS), { current: 2 })
  t.match(await counting.count('tok_1', DAY_MS), { current: 9 })
  const told = own?.minutes() ?? []
  t.ok(told.length < 20_000, 'a successor is told of the busy ones alone')
  t.ok(told.some(({ tokenId, count }) => tokenId === 'tok_1' && count === 2))
  counting.keep()
  t.ok(written.includes('tok_1'))
  t.ok(written.length <= 100_010, `${written.length} are kept on the disk`)
})

t.test('a successor goes on with the minutes of routes and tokens', async (t) => {
  let own: OwnCounts | undefined
  const before = openCounting({
    onCounts: (counts) => {
      own = counts
    },
  })
  for (let n = 0; n < 30; n++) await before.count('route both /a token tok_1', MINUTE_MS)
  await before.count('tok_1', MINUTE_MS)
  const after = openCounting({ counts: { count: () => undefined, carried: () => own?.minutes() ?? [] } })
  t.match(await after.count('route both /a token tok_1', MINUTE_MS), { current: 31 })
  t.match(await after.count('tok_1', MINUTE_MS), { current: 2 })
})
