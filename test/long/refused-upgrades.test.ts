import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { bearer, get } from '../support/client.ts'
import { descriptorsOf } from '../support/descriptors.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { bodyOf, codeOf, statusOf } from '../support/hostile.ts'
import { waitUntil } from '../support/journey.ts'
import { hearUntilEnd } from '../support/last-word.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { handshakeText } from '../support/raw-socket.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'
import type { Owner } from '../support/waiting.ts'

const REALTIME = '/v1/realtime?model=m'

/** A gateway whose provider and service take a connection and say nothing. */
async function openGateway(t: Owner, env: Record<string, string> = {}) {
  const upstream = await startRawUpstream(t)
  upstream.mode = 'hang'
  const origin = `127.0.0.1:${upstream.port}`
  const path = modelsFile(t, {
    providers: { main: `http://${origin}/v1` },
    models: { m: 'main', other: 'main' },
  })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: {
      ...providerKeys('main'),
      WS_ROUTES: `/ws=ws://${origin}/ws,/open=ws://${origin}/open!open`,
      CORS_ALLOWLIST: 'https://app.example',
      RATE_LIMIT_PER_MINUTE: '1000000',
      UNAUTHENTICATED_PER_MINUTE: '1000000',
      FIRST_BYTE_TIMEOUT_MS: '500',
      ...env,
    },
  })
  const token = await mintToken(t, gateway)
  return { gateway, upstream, token, auth: { authorization: `Bearer ${token}` } }
}

t.test('every refused handshake says that it closes, and its socket goes', async (t) => {
  const { gateway, upstream, auth } = await openGateway(t)
  const bearerOf = async (options: object) => ({
    authorization: `Bearer ${await mintToken(t, gateway, options)}`,
  })
  const narrow = await bearerOf({ user: 'narrow', models: 'other' })
  const poor = await bearerOf({ user: 'poor', credits: 1 })
  const rare = await bearerOf({ user: 'rare', perMinute: 1 })
  const elsewhere = await bearerOf({ user: 'elsewhere', addresses: '192.0.2.1' })
  await get(gateway, '/v1/token', rare)
  const ask = (headers: Record<string, string> = {}, path = REALTIME) => handshakeText({ path, headers })
  const cases: [string, string, number, string][] = [
    ['a token in the URL', ask({}, `${REALTIME}&token=x`), 400, 'credential_in_url'],
    ['two hosts', ask(auth).replace('\r\n', '\r\nHost: b\r\n'), 400, 'invalid_request'],
    ['a crooked path', ask(auth, '/v1/../realtime'), 400, 'invalid_request'],
    ['a broken escape', ask(auth, '/v1/models/%zz'), 400, 'invalid_request'],
    ['no such path', ask(auth, '/nowhere'), 404, 'not_found'],
    ['a plain path', ask(auth, '/v1/models'), 426, 'upgrade_not_served'],
    ['a path for POST', ask(auth, '/v1/chat/completions'), 426, 'upgrade_not_served'],
    ['health', ask({}, '/health'), 426, 'upgrade_not_served'],
    ['a foreign page', ask({ ...auth, origin: 'https://evil.example' }), 403, 'origin_not_allowed'],
    ['another version', ask({ ...auth, 'sec-websocket-version': '8' }), 426, 'upgrade_required'],
    ['no key', ask({ ...auth, 'sec-websocket-key': 'x' }), 400, 'invalid_request'],
    ['no list of protocols', ask({ ...auth, 'sec-websocket-protocol': 'a,,b' }), 400, 'invalid_request'],
    ['no token', ask(), 401, 'invalid_api_key'],
    ['an unknown token', ask({ authorization: 'Bearer x' }), 401, 'invalid_api_key'],
    ['a service without a token', ask({}, '/ws'), 401, 'invalid_api_key'],
    ['another address', ask(elsewhere), 403, 'address_not_allowed'],
    ['too often', ask(rare), 429, 'rate_limit_exceeded'],
    ['no model', ask(auth, '/v1/realtime'), 400, 'missing_model'],
    ['a foreign model', ask(narrow), 403, 'model_not_allowed'],
    ['an unknown model', ask(auth, '/v1/realtime?model=zzz'), 404, 'model_not_found'],
    ['an empty purse', ask(poor), 429, 'insufficient_quota'],
    ['a silent provider', ask(auth), 504, 'upstream_timeout'],
    ['a silent service', ask(auth, '/ws'), 504, 'upstream_timeout'],
    ['a silent open service', ask({}, '/open'), 504, 'upstream_timeout'],
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'invalid_request'],
    [
      'CONNECT with a body',
      'CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n',
      400,
      'invalid_request',
    ],
    ['a second request behind it', ask() + ask(auth, '/v1/models'), 401, 'invalid_api_key'],
    ['frames behind it', `${ask()}${'x'.repeat(300_000)}`, 401, 'invalid_api_key'],
  ]
  const before = descriptorsOf(gateway)
  const heard = await Promise.all(cases.map(([, bytes]) => hearUntilEnd(t, gateway.port, bytes)))
  for (const [index, [name, , status, code]] of cases.entries()) {
    const { text, endedAfterMs } = heard[index] ?? { text: '', endedAfterMs: undefined }
    t.equal(statusOf(text), status, `${name}: ${text.slice(0, 300)}`)
    t.equal(codeOf(bodyOf(text)), code, name)
    t.match(text, /^connection: close\r$/im, name)
    t.notMatch(text, /^connection: keep-alive/im, name)
    t.ok(endedAfterMs !== undefined && endedAfterMs < 1_000, `${name}: ended after ${endedAfterMs} ms`)
  }
  for (const socket of upstream.sockets) socket.destroy()
  await waitUntil(
    () => descriptorsOf(gateway),
    (now) => now <= before,
  )
  t.strictSame(
    gateway.lines().filter(({ level }) => level === 'error' || level === 'fatal'),
    [],
  )
})

t.test('what is no handshake is plain HTTP, whatever it asks for', async (t) => {
  const { gateway, auth } = await openGateway(t)
  const text = handshakeText({ path: REALTIME, headers: auth })
  const cases: [string, string, number][] = [
    ['POST', text.replace('GET', 'POST'), 404],
    ['HTTP/1.0', text.replace('HTTP/1.1', 'HTTP/1.0'), 426],
    ['with a body', `${text.slice(0, -2)}Content-Length: 3\r\n\r\nabc`, 426],
    ['with chunks', `${text.slice(0, -2)}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, 426],
    ['with half a body', `${text.slice(0, -2)}Content-Length: 3\r\n\r\na`, 426],
  ]
  for (const [name, bytes, status] of cases) {
    const heard = hearUntilEnd(t, gateway.port, bytes, { patienceMs: name === 'POST' ? 1_000 : 20_000 })
    t.equal(statusOf((await heard).text), status, name)
  }
  const behind = `${text.replace('websocket', 'nonsense')}${text}`
  const { text: answer, endedAfterMs } = await hearUntilEnd(t, gateway.port, behind)
  t.match(answer, /^connection: upgrade, close\r$/im)
  t.ok(endedAfterMs !== undefined, 'none waits behind it')
})

t.test('two thousand refused handshakes whose clients stay leave no descriptor behind', async (t) => {
  const { gateway } = await openGateway(t, { UNAUTHENTICATED_PER_MINUTE: '1500' })
  const before = descriptorsOf(gateway)
  const bytes = handshakeText({ path: `${REALTIME}&token=x` })
  const statuses = new Map<number, number>()
  for (let round = 0; round < 20; round += 1) {
    const all = Array.from({ length: 100 }, () => hearUntilEnd(t, gateway.port, bytes))
    for (const { text, endedAfterMs } of await Promise.all(all)) {
      statuses.set(statusOf(text), (statuses.get(statusOf(text)) ?? 0) + 1)
      if (endedAfterMs === undefined || !/^connection: close\r$/im.test(text)) t.fail(`not closed: ${text}`)
    }
  }
  // Theirs are still open: only what the gateway does counts.
  await waitUntil(
    () => descriptorsOf(gateway),
    (now) => now <= before + 5,
  )
  t.strictSame(
    [...statuses].sort(([a], [b]) => a - b),
    [
      [400, 1500],
      [429, 500],
    ],
    'and a flood is told to wait',
  )
})

t.test('refused handshakes of an address do not lock out its valid tokens', async (t) => {
  const { gateway, auth } = await openGateway(t, { UNAUTHENTICATED_PER_MINUTE: '3' })
  const refuse = async (path: string, headers = {}) =>
    statusOf((await hearUntilEnd(t, gateway.port, handshakeText({ path, headers }))).text)
  // With a valid token, but not for want of one: its own limits count them.
  for (let count = 0; count < 6; count += 1) t.equal(await refuse('/v1/realtime', auth), 400)
  t.equal((await get(gateway, '/v1/models', bearer('x'))).status, 401, 'nothing is counted yet')
  t.equal(await refuse('/nowhere'), 404)
  t.equal(await refuse('/v1/models'), 426)
  t.equal(await refuse('/v1/models', { host: '' }), 429, 'one count for all of them')
  t.equal((await get(gateway, '/v1/models', bearer('x'))).status, 429)
  t.equal((await get(gateway, '/v1/models', auth)).status, 200)
  t.equal(await refuse('/v1/realtime', auth), 400, 'nor its handshakes')
})

t.test('a handshake right behind a request is refused when that is answered', async (t) => {
  const { gateway, auth } = await openGateway(t)
  const health = 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'
  const bytes = health + health + handshakeText({ path: '/ws', headers: auth })
  const { text, endedAfterMs } = await hearUntilEnd(t, gateway.port, bytes)
  t.match(text, /^HTTP\/1.1 200 .*HTTP\/1.1 200 .*HTTP\/1.1 400 .*before you ask for a WebSocket/s)
  t.ok(endedAfterMs !== undefined && endedAfterMs < 1_000)
})

t.test('a handshake that nobody answers is answered at last', async (t) => {
  const { gateway, auth } = await openGateway(t, { FIRST_BYTE_TIMEOUT_MS: '60000', TOTAL_TIMEOUT_MS: '700' })
  const before = descriptorsOf(gateway)
  const { text, endedAfterMs } = await hearUntilEnd(
    t,
    gateway.port,
    handshakeText({ path: '/ws', headers: auth }),
  )
  t.equal(statusOf(text), 504)
  t.equal(codeOf(bodyOf(text)), 'upstream_timeout')
  t.ok(endedAfterMs !== undefined && endedAfterMs < 1_000)
  await waitUntil(
    () => descriptorsOf(gateway),
    (now) => now <= before,
  )
})

t.test('what follows a refused handshake is not read without end', async (t) => {
  const { gateway } = await openGateway(t)
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  socket.on('error', () => undefined)
  socket.resume()
  let isOver = false
  socket.on('close', () => {
    isOver = true
  })
  socket.write(handshakeText({ path: REALTIME }))
  const chunk = Buffer.alloc(1024 * 1024)
  const until = performance.now() + 10_000
  while (!isOver && performance.now() < until) {
    if (!socket.writableNeedDrain) socket.write(chunk)
    await wait(5)
  }
  t.ok(isOver, 'it was cut')
  // The systems in between hold some megabytes.
  t.ok(socket.bytesWritten < 64 * 1024 * 1024, `${socket.bytesWritten} bytes`)
})
