import t from 'tap'
import {
  type Failure,
  isModelMissing,
  isProviderFailure,
  judgeFailures,
  readNetworkFailure,
  readRetryAfter,
  readStatusFailure,
  type Walked,
} from '../../src/routing/failover.ts'

const failure = (rest: Partial<Failure>): Failure => ({
  kind: 'status',
  status: 500,
  reason: '',
  retryAfterMs: undefined,
  ...rest,
})

const walked = (failures: Partial<Failure>[]): Walked => ({
  failures: failures.map(failure),
  restsMs: [0],
  neverAsked: 0,
})

t.test('the next provider is asked after our own faults and its own, not after the client’s', (t) => {
  for (const status of [301, 302, 307, 308, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529, 599])
    t.ok(isProviderFailure(status), String(status))
  for (const status of [200, 201, 204, 400, 405, 406, 409, 410, 413, 415, 418, 422, 431, 451])
    t.notOk(isProviderFailure(status), String(status))
  t.end()
})

t.test('a model that a provider does not know says nothing about its health', (t) => {
  t.ok(isModelMissing(failure({ status: 404 })))
  t.notOk(isModelMissing(failure({ status: 401 })))
  t.notOk(isModelMissing(failure({ kind: 'network', status: 0 })))
  t.end()
})

t.test('a refused key is our own account’s; what 402 and 403 mean is not told by the status', (t) => {
  t.match(readStatusFailure(401, {}, 0), { status: 401, isAccount: true })
  for (const status of [402, 403, 429, 500])
    t.notOk(readStatusFailure(status, {}, 0)?.isAccount, String(status))
  t.end()
})

t.test('timeouts are told from other network failures', (t) => {
  for (const code of ['CONNECT_TIMEOUT', 'FIRST_BYTE_TIMEOUT', 'IDLE_TIMEOUT'])
    t.match(readNetworkFailure(Object.assign(new Error(), { code })), { kind: 'timeout', reason: code })
  t.match(readNetworkFailure(Object.assign(new Error(), { code: 'ECONNREFUSED' })), { kind: 'network' })
  t.match(readNetworkFailure(new TypeError('x')), { kind: 'network', reason: 'TypeError' })
  t.end()
})

t.test('what this machine cannot send is no provider’s failure', (t) => {
  const own = [
    'EMFILE',
    'ENFILE',
    'ENOMEM',
    'ENOBUFS',
    'EADDRNOTAVAIL',
    'EINVAL',
    'EPERM',
    'ERR_INVALID_ARG_TYPE',
  ]
  for (const code of own)
    t.match(readNetworkFailure(Object.assign(new Error(), { code })), { kind: 'own', reason: code })
  for (const code of [
    'ECONNRESET',
    'EPIPE',
    'ENOTFOUND',
    'EAI_AGAIN',
    'EHOSTUNREACH',
    'ERR_TLS_CERT_ALTNAME_INVALID',
  ])
    t.match(readNetworkFailure(Object.assign(new Error(), { code })), { kind: 'network' })
  const emfile = { kind: 'own', status: 0, reason: 'EMFILE' } as const
  t.match(judgeFailures('m', walked([emfile, emfile])), {
    statusCode: 503,
    code: 'gateway_busy',
    passing: true,
  })
  t.match(judgeFailures('m', walked([emfile, {}])), { statusCode: 502 })
  t.end()
})

t.test('Retry-After is read as seconds, as a date and in milliseconds; nonsense is none', (t) => {
  const now = Date.parse('2026-11-21T08:00:00Z')
  t.equal(readRetryAfter({ 'retry-after': '7' }, now), 7000)
  t.equal(readRetryAfter({ 'retry-after': '0.5' }, now), 500)
  t.equal(readRetryAfter({ 'retry-after': 'Sat, 21 Nov 2026 08:00:30 GMT' }, now), 30_000)
  t.equal(readRetryAfter({ 'retry-after-ms': '1500', 'retry-after': '9' }, now), 1500)
  for (const value of ['', '0', '-3', 'soon', 'Sat, 21 Nov 2020 08:00:30 GMT'])
    t.equal(readRetryAfter({ 'retry-after': value }, now), undefined, value)
  t.equal(readRetryAfter({}, now), undefined)
  t.end()
})

t.test('one error stands for all attempts, and says when to come again', (t) => {
  const table: [Partial<Failure>[], number, string][] = [
    [[{ status: 404 }, { status: 404 }], 404, 'model_not_found'],
    [[{ status: 404 }, { status: 500 }], 502, 'upstream_failed'],
    [[{ status: 500 }, { status: 404 }], 502, 'upstream_failed'],
    [[{ status: 500 }, { kind: 'timeout', status: 0 }], 504, 'upstream_timeout'],
    [[{ status: 504 }], 504, 'upstream_timeout'],
    [[], 502, 'upstream_failed'],
  ]
  for (const [failures, statusCode, code] of table)
    t.match(judgeFailures('m', walked(failures)), { statusCode, code })
  t.match(judgeFailures('m', { ...walked([{}]), restsMs: [9000, 4000] }), {
    retryAfterMs: 4000,
    passing: true,
  })
  t.match(judgeFailures('m', { ...walked([{}]), restsMs: [0, 4000] }), { retryAfterMs: 1000 })
  t.match(judgeFailures('m', { ...walked([{ status: 404 }]), neverAsked: 1 }), {
    statusCode: 502,
    passing: true,
  })
  t.equal(judgeFailures('m'.repeat(256), walked([{}])).message.length < 200, true)
  t.end()
})
