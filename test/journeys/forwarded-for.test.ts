import { once } from 'node:events'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { bearer, get, send } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'

const FAILURES = 3
const start = (env: Record<string, string> = {}): Promise<TestGateway> =>
  startGateway(t, {
    env: {
      TRUSTED_PROXIES: '127.0.0.1/32,10.0.0.0/8,2001:db8:ffff::/48',
      UNAUTHENTICATED_PER_MINUTE: String(FAILURES),
      RATE_LIMIT_PER_MINUTE: '1000000',
      ...env,
    },
  })
const gateway = await start()
const token = await mintToken(t, gateway)
let asked = 0

/** The address that the gateway takes the client for. */
async function addressBy(headers: Record<string, string | string[]>, target = gateway): Promise<unknown> {
  const id = `ask-${asked++}.`
  await send(target, { path: '/v1/models', headers: { ...bearer(token), ...headers, 'x-request-id': id } })
  return (await target.waitForLine(({ requestId }) => requestId === id)).address
}

t.test('the address counts as proxies really write it, never what a client invented', async (t) => {
  const long = '203.0.113.7'.padStart(3_000, 'x')
  for (const [list, address] of [
    ['203.0.113.7', '203.0.113.7'],
    ['203.0.113.7:51234', '203.0.113.7'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['[fe80::1%eth0]:443', 'fe80::1'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['[::ffff:cb00:7107]:80', '203.0.113.7'],
    ['"203.0.113.7:80"', '203.0.113.7'],
    ['"[2001:db8::1]:443"', '2001:db8::1'],
    ['  203.0.113.7\t', '203.0.113.7'],
    ['198.51.100.1, 203.0.113.7', '203.0.113.7'],
    ['198.51.100.1,203.0.113.7:1,10.0.0.5:4711', '203.0.113.7'],
    ['203.0.113.7, 2001:db8:ffff::9, [2001:db8:ffff::8]:80', '203.0.113.7'],
    [', 203.0.113.7, , 10.0.0.5 ,', '203.0.113.7'],
    ['unknown, 203.0.113.7', '203.0.113.7'],
    ['203.0.113.7, unknown', '127.0.0.1'],
    ['203.0.113.7, unknown, 10.0.0.5', '10.0.0.5'],
    ['203.0.113.7, _hidden', '127.0.0.1'],
    ['203.0.113.7, 999.1.1.1', '127.0.0.1'],
    ['203.0.113.7, 010.0.0.1', '127.0.0.1'],
    ['203.0.113.7, 10.0.0.5:', '127.0.0.1'],
    ['203.0.113.7, [10.0.0.5', '127.0.0.1'],
    ['203.0.113.7, localhost', '127.0.0.1'],
    [long, '127.0.0.1'],
    [`${'10.0.0.5,'.repeat(800)}10.0.0.6`, '10.0.0.5'],
    ['10.0.0.5', '10.0.0.5'],
    ['', '127.0.0.1'],
    [' , ', '127.0.0.1'],
  ] as const)
    t.equal(await addressBy({ 'x-forwarded-for': list }), address, list.slice(0, 80))
  t.equal(
    await addressBy({ 'x-forwarded-for': ['198.51.100.1', '203.0.113.7:1', '10.0.0.5'] }),
    '203.0.113.7',
  )
  t.equal(await addressBy({ forwarded: 'for=203.0.113.7', 'x-real-ip': '203.0.113.7' }), '127.0.0.1')
})

t.test('nobody is believed whose address is not trusted', async (t) => {
  const other = await start({ TRUSTED_PROXIES: '10.0.0.0/8' })
  const id = 'untrusted-1.'
  await get(other, '/v1/models', { 'x-forwarded-for': '203.0.113.7', 'x-request-id': id })
  t.equal((await other.waitForLine(({ requestId }) => requestId === id)).address, '127.0.0.1')
})

t.test('an address list is met whatever port a proxy writes', async (t) => {
  const office = bearer(await mintToken(t, gateway, { addresses: '203.0.113.0/24,2001:db8:1::5' }))
  const from = async (list: string) =>
    (await get(gateway, '/v1/models', { ...office, 'x-forwarded-for': list })).status
  t.equal(await from('203.0.113.7:51234'), 200)
  t.equal(await from('[2001:db8:1::5]:443'), 200)
  t.equal(await from('[2001:db8:1::6]:443'), 403, 'of an IPv6 address all of it counts')
  t.equal(await from('203.0.113.7, unknown'), 403)
})

const guess = async (list: string, target = gateway) =>
  (await get(target, '/v1/models', { ...bearer('gw-wrong'), 'x-forwarded-for': list })).status

t.test('another port, or another address of the same network, is no new chance to guess', async (t) => {
  for (let port = 1; port <= FAILURES; port++) t.equal(await guess(`198.51.100.9:${port}`), 401)
  t.equal(await guess('198.51.100.9:99'), 429)
  t.equal(await guess('::ffff:198.51.100.9'), 429)
  t.equal(await guess('198.51.100.10'), 401)
  for (let host = 1; host <= FAILURES; host++)
    t.equal(await guess(`[2001:db8:5:6:${host}::${host}]:${host}`), 401)
  t.equal(await guess('2001:db8:5:6::77'), 429)
  t.equal(await guess('2001:db8:5:7::77'), 401)
})

t.test('so many first bits of an IPv6 address are one client as the operator says', async (t) => {
  const services = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.teardown(() => services.close())
  await once(services, 'listening')
  const address = services.address()
  const port = typeof address === 'object' ? address?.port : 0
  const other = await start({
    IPV6_PREFIX_BITS: '56',
    WS_ROUTES: `/open=ws://127.0.0.1:${port}/!open`,
    WS_SOCKETS_PER_TOKEN: '1',
    UNAUTHENTICATED_PER_MINUTE: '1000',
  })
  const open = (list: string) =>
    new Promise<number>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${other.port}/open`, {
        headers: { 'x-forwarded-for': list },
      })
      t.teardown(() => socket.terminate())
      socket.on('error', () => undefined)
      socket.on('open', () => resolve(101))
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
    })
  t.equal(await open('2001:db8:5:600::1'), 101)
  t.equal(await open('[2001:db8:5:6ff::9]:12'), 429)
  t.equal(await open('2001:db8:5:700::1'), 101)
})
