import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t from 'tap'
import { addAttempt, NO_ATTEMPTS, nextAttemptMs, openAttempts } from '../../scripts/certificates/attempts.ts'
import { createFinder } from '../../scripts/certificates/finder.ts'
import {
  type Family,
  type Found,
  type Judgement,
  judge,
  type Reached,
} from '../../scripts/certificates/judgement.ts'
import { createOrders } from '../../scripts/certificates/orders.ts'
import { findAtSource } from '../../scripts/certificates/records.ts'
import { openSelfCheck } from '../../scripts/certificates/self-check.ts'
import { readSettings } from '../../scripts/certificates/settings.ts'
import { startNames } from '../edge/support/names.ts'
import { temporaryFolder } from '../support/gateway.ts'

const MINUTE_MS = 60_000
const RETRY_MS = 2 * MINUTE_MS
const [V4, OTHER_V4, V6] = ['203.0.113.5', '198.51.100.7', '2001:db8::7']

t.test('a name is ordered when its DNS leads here, and only then', (t) => {
  const here = (address: string) => ({ address, reached: 'here' as const })
  const elsewhere = (address: string) => ({ address, reached: 'elsewhere' as const })
  const silent = (address: string) => ({ address, reached: 'silent' as const })
  const table: [string, Found, Family[], Judgement][] = [
    ['its one address', { addresses: [here(V4)] }, [4], { is: 'here' }],
    ['both families', { addresses: [here(V4), here(V6)] }, [4, 6], { is: 'here' }],
    ['no record', { addresses: [] }, [4], { is: 'missing' }],
    ['no answer', { addresses: [], failure: 'ETIMEOUT' }, [4], { is: 'unanswered', failure: 'ETIMEOUT' }],
    ['another server', { addresses: [elsewhere(V4)] }, [], { is: 'elsewhere', addresses: [V4] }],
    [
      'one wrong address of two',
      { addresses: [here(V4), elsewhere(V6)] },
      [4],
      { is: 'elsewhere', addresses: [V6] },
    ],
    [
      'silence where this server has reached itself',
      { addresses: [here(V4), silent(OTHER_V4)] },
      [4],
      { is: 'elsewhere', addresses: [OTHER_V4] },
    ],
    [
      'a server that cannot reach itself',
      { addresses: [silent(V4)] },
      [],
      { is: 'unknown', addresses: [V4] },
    ],
    [
      'IPv6 that cannot be asked from here',
      { addresses: [here(V4), silent(V6)] },
      [4],
      { is: 'partly', addresses: [V6] },
    ],
  ]
  for (const [what, found, families, expected] of table)
    t.same(judge(found, new Set(families)), expected, what)
  t.end()
})

t.test('whatever fails for ten hours, no ten minutes have three orders and no hour has five', (t) => {
  let attempts = NO_ATTEMPTS
  const timesMs: number[] = []
  for (let nowMs = 0; nowMs < 600 * MINUTE_MS; nowMs += 1000) {
    // Its record changes twice a minute: no way around the limits.
    const addresses = nowMs < 300 * MINUTE_MS ? [V4] : [nowMs % MINUTE_MS < 30_000 ? V4 : OTHER_V4]
    if (nextAttemptMs(attempts, { nowMs, retryMs: RETRY_MS, addresses }) > nowMs) continue
    attempts = addAttempt(attempts, nowMs, addresses)
    timesMs.push(nowMs)
  }
  const within = (fromMs: number, lengthMs: number) =>
    timesMs.filter((timeMs) => timeMs >= fromMs && timeMs < fromMs + lengthMs).length
  t.ok(timesMs.every((timeMs) => within(timeMs, 10 * MINUTE_MS) <= 2))
  t.ok(timesMs.every((timeMs) => within(timeMs, 60 * MINUTE_MS) <= 4))
  t.same(
    timesMs.slice(0, 6).map((timeMs) => timeMs / MINUTE_MS),
    [0, 2, 10, 18, 60, 92],
    'waits double',
  )
  t.ok(within(0, 300 * MINUTE_MS) >= 8, 'and nobody is given up')
  t.end()
})

t.test('a name that points elsewhere than at its last failure need not wait out the doubled time', (t) => {
  const attempts = { timesMs: [0, 2, 10, 18].map((minutes) => minutes * MINUTE_MS), addresses: [V4] }
  const nowMs = 65 * MINUTE_MS
  const [same, moved] = [[V4], [OTHER_V4]].map((addresses) =>
    nextAttemptMs(attempts, { nowMs: 61 * MINUTE_MS, retryMs: RETRY_MS, addresses }),
  )
  t.equal(same, 61 * MINUTE_MS)
  t.equal(moved, 61 * MINUTE_MS)
  const later = addAttempt(attempts, nowMs, [V4])
  const soon = { nowMs: 70 * MINUTE_MS, retryMs: RETRY_MS }
  t.equal(nextAttemptMs(later, { ...soon, addresses: [V4] }), 97 * MINUTE_MS)
  t.equal(nextAttemptMs(later, { ...soon, addresses: [OTHER_V4] }), soon.nowMs)
  t.end()
})

t.test('a clock that was set back makes nobody wait longer than the rules', (t) => {
  const store = openAttempts(join(temporaryFolder(t, 'gw-clock-'), 'attempts.json'), 'real')
  store.add('a.example.test', 1000 * MINUTE_MS, [V4])
  const due = (nowMs: number) =>
    nextAttemptMs(store.of('a.example.test', nowMs), { nowMs, retryMs: RETRY_MS, addresses: [V4] }) <= nowMs
  t.same(
    [0, 1, 2, 3].map((minutes) => due(minutes * MINUTE_MS)),
    [false, false, true, true],
  )
  t.end()
})

t.test('attempts outlive a restart, but not the change of the authority or a damaged file', (t) => {
  const file = join(temporaryFolder(t, 'gw-attempts-'), 'attempts.json')
  openAttempts(file, 'real').add('a.example.test', 5, [V4])
  t.same(openAttempts(file, 'real').of('a.example.test', 9), { timesMs: [5], addresses: [V4] })
  t.same(openAttempts(file, 'staging').of('a.example.test', 9), NO_ATTEMPTS)
  openAttempts(file, 'real').forget('a.example.test')
  t.same(openAttempts(file, 'real').of('a.example.test', 9), NO_ATTEMPTS)
  writeFileSync(file, '{"authority":"real","names":{"a.example.test":{"timesMs":"5"}}}')
  t.same(openAttempts(file, 'real').of('a.example.test', 9), NO_ATTEMPTS)
  t.end()
})

t.test('only the way that ends in this very process counts as here', async (t) => {
  const [own, other] = [await openSelfCheck(0), await openSelfCheck(0)]
  const closed = createServer().listen(0, '127.0.0.1')
  const rude = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await Promise.all([once(closed, 'listening'), once(rude, 'listening')])
  const [closedPort, rudePort] = [closed, rude].map((server) => (server.address() as AddressInfo).port)
  closed.close()
  t.teardown(() => {
    for (const one of [own, other, rude]) one.close()
  })
  t.equal(await own.reach('127.0.0.1', own.port), 'here')
  t.equal(await own.reach('127.0.0.1', other.port), 'elsewhere', 'another edge like this one')
  t.equal(await own.reach('127.0.0.1', closedPort ?? 0), 'elsewhere', 'nobody')
  t.equal(await own.reach('127.0.0.1', rudePort ?? 0), 'elsewhere', 'a server that hangs up')
  const stranger = connect({ host: '127.0.0.1', port: own.port, rejectUnauthorized: false })
  await t.rejects(once(stranger, 'secureConnect'), 'and a stranger gets no further')
})

t.test('an address that never answers is silence, not another server', async (t) => {
  const [own, mute] = [await openSelfCheck(0), createServer().listen(0, '127.0.0.1')]
  await once(mute, 'listening')
  const sockets: { destroy(): void }[] = []
  mute.on('connection', (socket) => sockets.push(socket))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    for (const one of [own, mute]) one.close()
  })
  t.equal(await own.reach('127.0.0.1', (mute.address() as AddressInfo).port), 'silent')
})

t.test('a corrected record is seen past the cache that holds the old one', async (t) => {
  const [name, missing] = ['api.zone.example.test', 'new.example.test']
  const source = await startNames(t, { [name]: [V4], [missing]: [OTHER_V4] })
  const port = Number(source.split(':')[1])
  const servers = { 'zone.example.test': ['gone.test', 'ns.test'], 'example.test': ['ns.test'] }
  const cache = await startNames(t, { [name]: [OTHER_V4], 'ns.test': ['127.0.0.1'] }, servers)
  t.same(await findAtSource(name, { resolver: cache, port }), [V4])
  t.same(await findAtSource(missing, { resolver: cache, port }), [OTHER_V4])
  t.same(await findAtSource('nowhere.test', { resolver: cache, port }), [])
})

t.test('addresses that the operator has named are believed; others are tried', async (t) => {
  const source = await startNames(t, { 'mended.example.test': [V4] })
  const port = Number(source.split(':')[1])
  const records = {
    'api.example.test': [V4],
    'mended.example.test': [OTHER_V4],
    'ns.test': ['127.0.0.1'],
    'two.example.test': [V4, '2001:db8:0:0:0:0:0:7'],
  }
  const resolver = await startNames(t, records, { 'example.test': ['ns.test'] })
  const tried: string[] = []
  const reach = async (address: string): Promise<Reached> => {
    tried.push(address)
    return address === V4 ? 'here' : 'elsewhere'
  }
  const named = createFinder([OTHER_V4, V6], { reach }, { resolver, port: 1 })
  t.same(await named.find('api.example.test'), { addresses: [{ address: V4, reached: 'elsewhere' }] })
  t.match(await named.find('two.example.test'), {
    addresses: [{ reached: 'elsewhere' }, { reached: 'here' }],
  })
  t.same(tried, [])
  const finder = createFinder([], { reach }, { resolver, port })
  t.same(await finder.find('api.example.test'), { addresses: [{ address: V4, reached: 'here' }] })
  t.same([...finder.reachedItselfOver], [4])
  t.same(tried, [V4], 'one try each')
  t.same(
    await finder.find('mended.example.test'),
    { addresses: [{ address: V4, reached: 'here' }] },
    'at once',
  )
})

t.test('Traefik sees a name until it has taken it, and is told at once when it is gone', async (t) => {
  let taken = ''
  const orders = createOrders(async (checkName) => taken.includes(checkName))
  const looked = async (isFirst = false) => JSON.stringify(await orders.look(isFirst))
  t.match(await looked(true), 'HostSNI(`certificate-check.invalid`)')
  const held = looked()
  const ordered = orders.order('a.example.test')
  const seen = await held
  t.match(seen, /"rule":"Host\(`a\.example\.test`\)".*"certResolver":"letsencrypt"/)
  t.match(await looked(true), 'a.example.test', 'as long as it is not taken')
  const next = looked()
  taken = seen
  await ordered
  t.match(await next, /a\.example\.test/)
  t.notMatch(await looked(), 'a.example.test')
  const ending = orders.end()
  t.notMatch(await looked(true), 'a.example.test')
  await ending
})

t.test('what docker-compose hands on is read, and mistakes are named', (t) => {
  const names = {
    DOMAIN1: 'a.example.test',
    DOMAIN2: 'b.example.test',
    DOMAIN3: 'b.example.test',
    DOMAIN4: '',
    DOMAIN5: 'https://c.example.test',
  }
  t.match(readSettings({ ...names, EDGE_ADDRESSES: `${V4}, ${V6}`, EDGE_DNS_CHECK: '' }), {
    names: ['a.example.test', 'b.example.test', 'traefik.a.example.test'],
    noNames: ['DOMAIN5'],
    addresses: [V4, V6],
    isChecked: true,
    retryMs: RETRY_MS,
  })
  t.equal(readSettings({ EDGE_DNS_CHECK: 'off' }).isChecked, false)
  t.throws(() => readSettings({ EDGE_ADDRESSES: '203.0.113.500', EDGE_DNS_CHECK: 'no' }), {
    message: 'EDGE_ADDRESSES: 203.0.113.500 is no IP address; EDGE_DNS_CHECK is on or off, not no',
  })
  t.end()
})
