import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { chat, chatStream } from '../support/answers.ts'
import { json } from '../support/behaviour.ts'
import { authorityFile, makeCertificates } from '../support/certificates.ts'
import { bearer, credits, get, openStream, post, sendLeaving } from '../support/client.ts'
import { startEcho } from '../support/echo.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { type OutgoingProxyOptions, startOutgoingProxy } from '../support/outgoing-proxy.ts'
import { startProvider } from '../support/provider.ts'
import { open, startRealtime } from '../support/realtime.ts'
import { done, echoUsage } from '../support/realtime-scene.ts'
import type { Owner } from '../support/waiting.ts'

const CHAT = '/v1/chat/completions'
const SECRET = 'p:ss/word-of-the-proxy'
const AUTH = { text: `corp:${SECRET}`, inUrl: `corp:${encodeURIComponent(SECRET)}` }
const BASIC = `Basic ${Buffer.from(AUTH.text).toString('base64')}`
/** The name that this certificate is for leads nowhere but through a proxy. */
const { good, wrongName: certificate, ...rest } = await makeCertificates()
const FAR = 'other.example'
const PLAIN = 'plain.example'

/** Providers and services that only a proxy knows the way to, and one that is here. */
async function scene(
  t: Owner,
  options: Partial<OutgoingProxyOptions> = {},
  more: Record<string, string> = {},
) {
  const [secure, plain, near, realtime, echo, secureEcho] = await Promise.all([
    startProvider(t, { tls: certificate }),
    startProvider(t),
    startProvider(t),
    startRealtime(t, echoUsage(10, 5)),
    startEcho(t),
    startEcho(t, { tls: certificate }),
  ])
  const names = {
    [FAR]: secure.port,
    [PLAIN]: plain.port,
    'realtime.example': Number(new URL(realtime.url).port),
    'echo.example': echo.port,
    'secure-echo.other.example': secureEcho.port,
  }
  const proxy = await startOutgoingProxy(t, { names, ...options })
  const far = (host: string) => ({
    baseUrl: `http://${host}/v1`,
    allowInsecure: true,
    keyEnv: 'FAR_TEST_KEY',
  })
  const file = modelsFile(t, {
    providers: {
      secure: { baseUrl: `https://${FAR}/v1`, keyEnv: 'FAR_TEST_KEY' },
      plain: far(PLAIN),
      realtime: far('realtime.example'),
      nowhere: far('nowhere.example'),
      near: near.url,
    },
    models: {
      plain: 'plain',
      near: 'near',
      rt: 'realtime',
      both: ['secure', 'near'],
      lost: ['nowhere', 'near'],
      '*': 'secure',
    },
  })
  // What Node itself reads before the gateway starts must work from `.env` as well.
  const cwd = temporaryFolder(t, 'gw-cwd-')
  const authority = authorityFile(cwd, { good, wrongName: certificate, ...rest })
  writeFileSync(
    join(cwd, '.env'),
    `HTTPS_PROXY=${proxy.url}\nhttp_proxy=${proxy.url}\nNODE_EXTRA_CA_CERTS=${authority}\n`,
  )
  const gateway = await startGateway(t, {
    cwd,
    modelsFile: file,
    env: {
      ...providerKeys('far', 'near'),
      RATE_LIMIT_PER_MINUTE: '100000',
      LOG_LEVEL: 'trace',
      PASSTHROUGH_PATHS: `/files=https://${FAR}/files,/plain=http://${PLAIN}/files!insecure`,
      WS_ROUTES: `/echo=ws://echo.example/ws,/secure=wss://${FAR}:8443/ws`,
      ...more,
    },
  })
  const token = await mintToken(t, gateway)
  const ask = (model: string, body: object = {}) => post(gateway, CHAT, { model, ...body }, bearer(token))
  return { secure, plain, near, realtime, echo, secureEcho, proxy, names, gateway, token, ask }
}

t.test(
  'calls leave through the proxy, one after the other on one tunnel, and nobody learns its password',
  async (t) => {
    const { secure, plain, near, proxy, gateway, token, ask } = await scene(t, { auth: AUTH })
    for (let i = 0; i < 3; i++) {
      secure.queue(chat())
      t.match(await ask('any'), { status: 200, headers: { 'x-gateway-provider': 'secure' } })
    }
    secure.queue(chatStream())
    const body = { model: 'any', stream: true }
    const stream = await openStream(gateway, { path: CHAT, headers: bearer(token), body })
    const { text, cut } = await stream.rest()
    t.notOk(cut)
    t.match(text, /\[DONE\]/)
    t.match(proxy.tunnels, [
      { target: `${FAR}:443`, headers: { host: `${FAR}:443`, 'proxy-authorization': BASIC } },
    ])
    t.equal(proxy.tunnels.length, 1)
    t.equal(secure.requests[0]?.headers.authorization, 'Bearer key-of-far')
    t.equal(secure.requests[0]?.headers['proxy-authorization'], undefined)
    const large = { messages: [{ role: 'user', content: 'x'.repeat(700_000) }] }
    plain.answer(chat({ content: 'y'.repeat(700_000) }))
    for (let i = 0; i < 2; i++) t.match(await ask('plain', large), { status: 200, text: /y{700000}/ })
    t.equal(plain.requests.at(-1)?.bodyBytes, JSON.stringify({ model: 'plain', ...large }).length)
    t.match(proxy.tunnels.slice(1), [{ target: `${PLAIN}:80`, headers: { 'proxy-authorization': BASIC } }])
    t.equal(proxy.tunnels.length, 2)
    t.same(proxy.requests, [], 'nothing but CONNECT')
    near.queue(chat())
    t.match(await ask('near'), { status: 200 }, 'loopback is behind no proxy')
    t.equal(proxy.tunnels.length, 2)
    const log = gateway.stdout() + gateway.stderr()
    for (const secret of [SECRET, encodeURIComponent(SECRET), BASIC.slice('Basic '.length)])
      t.notOk(log.includes(secret))
  },
)

t.test('passthrough, services and realtime sockets leave through it as well', async (t) => {
  const { secure, plain, realtime, echo, secureEcho, proxy, names, gateway, token } = await scene(t)
  for (const [provider, path] of [
    [secure, '/files'],
    [plain, '/plain'],
  ] as const) {
    provider.answer(json({ id: path }))
    for (let i = 0; i < 2; i++)
      t.match(await get(gateway, `${path}/1`, bearer(token)), { status: 200, text: path })
    t.equal(provider.requests[0]?.url, '/files/1')
  }
  t.strictSame(
    proxy.tunnels.map(({ target }) => target),
    [`${FAR}:443`, `${PLAIN}:80`],
  )
  // The same name on another port.
  names[FAR] = secureEcho.port
  for (const [path, service] of [
    ['/echo', echo],
    ['/secure', secureEcho],
  ] as const) {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}${path}`, { headers: bearer(token) })
    t.teardown(() => socket.terminate())
    const answered = new Promise((resolve) => socket.once('message', (raw) => resolve(String(raw))))
    socket.once('open', () => socket.send(`hello ${path}`)).on('error', (error) => t.fail(error.message))
    t.equal(await answered, `hello ${path}`)
    t.equal(service.seen.length, 1)
    socket.close()
  }
  const client = await open(t, { url: `${gateway.url}/v1/realtime?model=rt`, token })
  client.send({ type: 'response.create' })
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  t.equal(realtime.seen[0]?.headers.authorization, 'Bearer key-of-far')
  t.strictSame(
    proxy.tunnels.slice(2).map(({ target }) => target),
    ['echo.example:80', `${FAR}:8443`, 'realtime.example:80'],
  )
})

t.test('a proxy may itself be spoken to over TLS, and must prove its name then', async (t) => {
  const { secure, proxy, ask } = await scene(t, { tls: good, auth: AUTH })
  secure.answer(chat())
  for (let i = 0; i < 2; i++)
    t.match(await ask('any'), { status: 200, headers: { 'x-gateway-provider': 'secure' } })
  t.equal(proxy.tunnels.length, 1)
  t.match(proxy.tunnels, [{ target: `${FAR}:443`, headers: { 'proxy-authorization': BASIC } }])
  const unproven = await scene(t, { tls: rest.selfSigned })
  unproven.near.answer(chat())
  t.match(await unproven.ask('both'), { status: 200, headers: { 'x-gateway-provider': 'near' } })
  t.equal(unproven.proxy.tunnels.length, 0, 'no credentials for who cannot prove its name')
})

t.test('what the proxy refuses is told as its own, and no provider rests for it', async (t) => {
  const { secure, near, proxy, gateway, token, ask } = await scene(t, {
    auth: { ...AUTH, inUrl: 'corp:old' },
  })
  near.answer(chat())
  secure.answer(chat())
  for (let i = 0; i < 6; i++)
    t.match(await ask('both'), { status: 200, headers: { 'x-gateway-provider': 'near' } })
  const line = await gateway.waitForLine(({ reason }) => reason === 'PROXY_407')
  t.match(line, { level: 'warn', provider: 'secure', msg: /gateway could not send/ })
  t.match(await ask('any'), { status: 503 }, 'nobody else to ask')
  t.match(await get(gateway, '/files/1', bearer(token)), { status: 503 })
  t.equal(proxy.tunnels.length, 8, 'a provider that is well is asked again each time')
  t.equal((await credits(gateway, token)).held, 0)
  t.equal(secure.requests.length, 0)
})

t.test('a proxy that is away, that is silent, and one that cannot reach the provider', async (t) => {
  const { near, secure, proxy, gateway, ask, token } = await scene(t, {}, { CONNECT_TIMEOUT_MS: '400' })
  near.answer(chat())
  t.match(await ask('lost'), { status: 200, headers: { 'x-gateway-provider': 'near' } })
  t.match(await gateway.waitForLine(({ reason }) => reason === 'PROXY_502'), {
    provider: 'nowhere',
    msg: 'provider failed',
  })
  proxy.refuse('silence')
  t.match(await ask('both'), { status: 200, headers: { 'x-gateway-provider': 'near' } })
  await gateway.waitForLine(({ reason }) => reason === 'CONNECT_TIMEOUT')
  proxy.refuse(undefined)
  secure.answer(chat())
  t.match(
    await waitUntil(
      () => ask('any'),
      ({ status }) => status === 200,
    ),
    { status: 200 },
  )
  proxy.close()
  t.match(await ask('both'), { status: 200, headers: { 'x-gateway-provider': 'near' } })
  await gateway.waitForLine(({ reason }) => reason === 'PROXY_UNREACHABLE')
  t.equal((await credits(gateway, token)).held, 0)
})

t.test('NO_PROXY is heeded, and a call whose client leaves gives its tunnel up', async (t) => {
  const { proxy, gateway, token } = await scene(t, {}, { NO_PROXY: PLAIN, CONNECT_TIMEOUT_MS: '60000' })
  const direct = await post(gateway, CHAT, { model: 'plain' }, bearer(token))
  t.match(direct, { status: 502 }, 'nobody knows this name')
  t.equal(proxy.tunnels.length, 0)
  proxy.refuse('silence')
  const request = sendLeaving(gateway, { path: CHAT, headers: bearer(token), body: { model: 'any' } })
  await waitUntil(
    () => proxy.tunnels.length,
    (tunnels) => tunnels === 1,
  )
  t.equal(proxy.connections(), 1)
  request.leave()
  await request.left
  await waitUntil(
    () => proxy.connections(),
    (connections) => connections === 0,
  )
  t.equal((await credits(gateway, token)).held, 0)
})
