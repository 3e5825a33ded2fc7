import t from 'tap'
import { buildRoute } from '../../src/config/catalog/service-row.ts'
import { buildAnswerHead, buildInterimHead, passTrailers } from '../../src/services/heads/answer-head.ts'
import { buildRequestHead, type Told, trailersUp } from '../../src/services/heads/request-head.ts'
import { isTraceparent, openTraceIds } from '../../src/services/heads/trace.ts'

const target = { origin: 'http://a:1', basePath: '' }
const told: Told = {
  route: buildRoute({ prefix: '/api', targets: [target] }),
  caller: undefined,
  isOpened: false,
  isEchoed: false,
  leavesCookies: false,
  passesAuthorization: false,
  requestId: 'req-1',
  address: '10.0.0.1',
  scheme: 'https',
  host: 'public.example',
  internalKey: 'internal-key-000000',
  via: '1.1 gw-me',
  makeTraceparent: () => '00-made',
}

const build = (rawHeaders: string[], more: Partial<Told> = {}): string[][] => {
  const headers: Record<string, string> = {}
  for (let at = 0; at < rawHeaders.length; at += 2)
    headers[(rawHeaders[at] ?? '').toLowerCase()] = rawHeaders[at + 1] ?? ''
  const flat = buildRequestHead({ rawHeaders, headers }, { ...told, ...more })
  return flat.flatMap((name, at) => (at % 2 === 0 ? [[name, flat[at + 1] ?? '']] : []))
}
const valuesOf = (head: string[][], name: string) =>
  head.filter(([each]) => each?.toLowerCase() === name).map(([, value]) => value)

t.test('the gateway says who and what it is, once, whatever the client and the rules say', async (t) => {
  const route = buildRoute({
    prefix: '/api',
    targets: [target],
    sendsInternalKey: true,
    requestHeaders: {
      set: { 'x-tenant': 'a', 'x-user-id': 'forged', 'x-internal-api-key': 'forged', accept: 'x/y' },
      remove: ['x-gone', 'x-request-id'],
      pass: [],
    },
  })
  const head = build(
    ['Accept', 'text/html', 'x-gone', '1', 'X-Internal-Api-Key', 'client', 'x-tenant', 'client'],
    { route },
  )
  t.same(valuesOf(head, 'accept'), ['x/y'])
  t.same(valuesOf(head, 'x-tenant'), ['a'])
  t.same(valuesOf(head, 'x-gone'), [])
  t.same(valuesOf(head, 'x-user-id'), [])
  t.same(valuesOf(head, 'x-internal-api-key'), ['internal-key-000000'])
  t.same(valuesOf(head, 'x-request-id'), ['req-1'])
  t.same(valuesOf(head, 'x-forwarded-prefix'), ['/api'])
  t.same(valuesOf(build([], {}), 'x-internal-api-key'), [], 'not where the route says no')
  t.same(valuesOf(build([], { route: { ...route, keepsPrefix: true } }), 'x-forwarded-prefix'), [])
})

t.test(
  'a request that is shown to its client as it came holds nothing of a rule, and no other in its place',
  async (t) => {
    const requestHeaders = { set: { 'x-tenant': 'of-the-rule' }, remove: [], pass: [] }
    const route = buildRoute({ prefix: '/api', targets: [target], requestHeaders, sendsInternalKey: true })
    const head = build(['X-Tenant', 'of-the-client', 'accept', '*/*'], { route, isEchoed: true })
    for (const name of ['x-tenant', 'x-internal-api-key']) t.same(valuesOf(head, name), [], name)
    t.same(valuesOf(head, 'accept'), ['*/*'])
  },
)

t.test('a caller is told by headers that hold any name, no two alike', async (t) => {
  const users = ['ann', 'Jürgen', '李', 'a%20b', 'a b', ' a', 'a\r\nx: y', '%C3%BC', 'ü', 'x\ud800']
  const seen = users.map((user) => {
    const caller: Told['caller'] = {
      ...{ kind: 'token', id: 't-1', user },
      token: { id: 't-1', hash: '', prefix: '', type: 'user', user, name: '', models: [], createdAt: 0 },
    }
    const [value = ''] = valuesOf(build([], { caller }), 'x-token-user')
    t.match(value, /^[\x20-\x7e]+$/)
    return value
  })
  t.equal(new Set(seen).size, users.length)
  t.same(seen.slice(0, 2), ['ann', 'J%C3%BCrgen'])
})

t.test('credentials and cookies pass where the route says so', async (t) => {
  const sent = ['Authorization', 'Basic x', 'Cookie', 'a=1', 'X-Api-Key', 'k']
  t.same(valuesOf(build(sent), 'authorization'), [])
  t.same(valuesOf(build(sent), 'cookie'), [])
  t.same(valuesOf(build(sent), 'x-api-key'), [])
  t.same(valuesOf(build(sent, { passesAuthorization: true }), 'authorization'), ['Basic x'])
  const ours = ['Authorization', `Bearer gw-${'a'.repeat(43)}`]
  t.same(valuesOf(build(ours, { passesAuthorization: true }), 'authorization'), [], 'a token of ours')
  const { requestHeaders: none } = told.route
  const route = {
    ...told.route,
    requestHeaders: { ...none, pass: ['authorization', 'x-api-key', 'x-user-id'] },
    cookies: true,
  }
  t.same(valuesOf(build(sent, { route }), 'authorization'), ['Basic x'])
  t.same(valuesOf(build(sent, { route }), 'cookie'), ['a=1'])
  t.same(valuesOf(build(sent, { route }), 'x-api-key'), ['k'])
  t.same(
    valuesOf(build(['x-user-id', 'me'], { route }), 'x-user-id'),
    [],
    'no rule passes what the gateway says',
  )
})

t.test('trailers are announced where they can come', async (t) => {
  t.same(valuesOf(build(['Trailer', 'x']), 'trailer'), [])
  t.same(valuesOf(build(['Trailer', 'x', 'Transfer-Encoding', 'chunked']), 'trailer'), ['x'])
})

t.test('another method than the one that was checked passes only where all are taken', async (t) => {
  const sent = ['X-HTTP-Method-Override', 'DELETE']
  t.same(valuesOf(build(sent), 'x-http-method-override'), ['DELETE'])
  const route = { ...told.route, methods: ['GET', 'POST'] }
  t.same(valuesOf(build(sent, { route }), 'x-http-method-override'), [])
})

t.test('a trace goes on, or begins', async (t) => {
  const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  t.same(valuesOf(build(['Traceparent', good, 'tracestate', 'a=b']), 'traceparent'), [good])
  t.same(valuesOf(build(['traceparent', 'bad', 'tracestate', 'a=b']), 'traceparent'), ['00-made'])
  t.same(valuesOf(build(['traceparent', 'bad', 'tracestate', 'a=b']), 'tracestate'), [])
  for (const [value, is] of [
    [good, true],
    [`cc${good.slice(2)}`, true],
    [`cc${good.slice(2)}-what-comes`, true],
    [`${good}-more`, false],
    [`ff${good.slice(2)}`, false],
    [good.toUpperCase(), false],
    ['00-00000000000000000000000000000000-00f067aa0ba902b7-01', false],
    ['00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01', false],
    [good.slice(0, -1), false],
    [`${good}, ${good}`, false],
    ['', false],
  ] as const)
    t.equal(isTraceparent(value), is, value)
  const make = openTraceIds()
  const made = Array.from({ length: 500 }, make)
  t.ok(made.every(isTraceparent))
  t.equal(new Set(made).size, 500)
})

t.test('an answer keeps its fields, but for those of one hop and the gateway’s own', async (t) => {
  const answer = [
    'Content-Type',
    'a/b',
    'Connection',
    'close, X-Hop',
    'X-Hop',
    '1',
    'Keep-Alive',
    'timeout=9',
  ]
  const rest = [
    'Vary',
    'Accept',
    'X-RateLimit-Limit',
    '9',
    'Access-Control-Allow-Origin',
    '*',
    'X-A',
    '1',
    'x-a',
    '2',
  ]
  const route = buildRoute({
    prefix: '/api',
    targets: [target],
    responseHeaders: { set: { 'x-set': 's' }, remove: ['x-a'], pass: [] },
  })
  const own = {
    'x-request-id': 'req-1',
    vary: 'Origin',
    'x-ratelimit-limit': 5,
    'set-cookie': ['a=1', 'b=2'],
  }
  const head = buildAnswerHead([...answer, ...rest, 'Set-Cookie', 'c=3'], {
    route,
    target,
    hasCors: true,
    own,
  })
  t.same(head, [
    ...[
      'x-request-id',
      'req-1',
      'vary',
      'Origin',
      'x-ratelimit-limit',
      '5',
      'set-cookie',
      'a=1',
      'set-cookie',
      'b=2',
    ],
    ...['Content-Type', 'a/b', 'Vary', 'Accept', 'x-set', 's'],
  ])
  const open = buildAnswerHead(rest, { route: { ...route, cookies: true }, target, hasCors: false, own: {} })
  t.ok(open.includes('Access-Control-Allow-Origin'))
})

t.test('what is said before and behind an answer follows the rules of the answer', async (t) => {
  const rules = { set: { 'x-tenant': 'a' }, remove: ['x-secret'], pass: [] }
  const route = buildRoute({ prefix: '/api', entry: 'open', targets: [target], responseHeaders: rules })
  const said = ['Link', '</a>', 'x-secret', '1', 'X-Tenant', 'service', 'x-internal-a', '1']
  const early = [...said, 'Set-Cookie', 'a=1', 'Content-Length', '9', 'Location', 'http://a:1/x']
  const down = { route, target, hasCors: true }
  t.same(buildInterimHead(early, down), ['Link', '</a>', 'Location', '/api/x'])
  t.same(passTrailers([...said, 'Access-Control-Allow-Origin', '*'], route), ['Link', '</a>'])
  const empty = ['Content-Length', '9', 'ETag', '"a"']
  t.same(buildAnswerHead(empty, { ...down, own: {}, isEmpty: true }), ['ETag', '"a"', 'x-tenant', 'a'])
})

t.test('nobody says behind a body what a rule takes out or sets before it', async (t) => {
  const rules = { set: { 'x-tenant': 'a' }, remove: ['x-gone'], pass: [] }
  const route = buildRoute({ prefix: '/api', targets: [target], requestHeaders: rules })
  const trailers = ['X-Gone', '1', 'X-Tenant', 'b', 'x-user-id', '1', 'X-Checksum', '2']
  t.same(trailersUp(trailers, route), ['X-Checksum', '2'])
})
