import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { bearer, get, send } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { servicesFile } from '../support/services-file.ts'
import type { Owner } from '../support/waiting.ts'

const PAGE = 'https://app.example.com'
const OTHER = 'https://other.example.com'

/** A service with CORS of its own, which lets everybody read. */
async function startOwnCors(t: Owner) {
  const seen: IncomingMessage[] = []
  const server = createServer((request, response) => {
    seen.push(request)
    response.setHeader('access-control-allow-origin', request.headers.origin ?? '*')
    response.setHeader('access-control-allow-credentials', 'true')
    response.setHeader('access-control-allow-methods', 'GET, SPECIAL')
    response.setHeader('access-control-expose-headers', 'x-total-count')
    response.setHeader('x-total-count', '7')
    response.setHeader('vary', 'Accept-Encoding')
    response.writeHead(request.method === 'OPTIONS' ? 204 : 200).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

const service = await startOwnCors(t)
const cors = { origins: [PAGE, 'https://*.preview.example.com'], credentials: true }
const services = {
  '/app': { to: service.url, cors, methods: ['GET', 'PUT'] },
  '/limited': { to: service.url, cors, limits: { perMinute: 1 } },
  '/dead': { to: 'http://127.0.0.1:1', cors },
  '/plain': { to: service.url },
  '/open': { to: service.url, auth: 'open' },
}
const gateway = await startGateway(t, { modelsFile: servicesFile(t, services) })
const token = await mintToken(t, gateway, { perMinute: 1_000_000 })

const preflight = (path: string, origin: string, method = 'PUT') =>
  send(gateway, {
    method: 'OPTIONS',
    path,
    headers: {
      origin,
      'access-control-request-method': method,
      'access-control-request-headers': 'authorization,content-type',
    },
  })

t.test(
  "the gateway's words stand in the place of the service's, and pages may read what both name",
  async (t) => {
    const { headers } = await get(gateway, '/app', { ...bearer(token), origin: PAGE })
    t.equal(headers['access-control-allow-origin'], PAGE)
    t.equal(headers['access-control-allow-credentials'], 'true')
    t.equal(headers['access-control-allow-methods'], undefined)
    t.match(
      headers['access-control-expose-headers'],
      /x-request-id.*x-total-count|x-total-count.*x-request-id/,
    )
    t.match(headers.vary, /Origin/)
    t.match(headers.vary, /Accept-Encoding/)
    const stranger = await get(gateway, '/app', { ...bearer(token), origin: OTHER })
    t.equal(stranger.status, 200)
    t.equal(stranger.headers['access-control-allow-origin'], undefined, 'whatever the service says')
    t.equal(stranger.headers['access-control-allow-credentials'], undefined)
  },
)

t.test('refusals and failures carry the headers that let a page read them', async (t) => {
  const origin = 'https://pr-7.preview.example.com'
  await get(gateway, '/limited', bearer(token))
  const answers = [
    [401, await get(gateway, '/app', { origin })],
    [405, await send(gateway, { method: 'DELETE', path: '/app', headers: { ...bearer(token), origin } })],
    [429, await get(gateway, '/limited', { ...bearer(token), origin })],
    [502, await get(gateway, '/dead', { ...bearer(token), origin })],
  ] as const
  for (const [status, answer] of answers) {
    t.equal(answer.status, status)
    t.match(answer.headers, {
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers': /retry-after/,
      vary: /Origin/,
    })
  }
})

t.test('a preflight of a route with rules is answered by the gateway, whoever may enter', async (t) => {
  const before = service.seen.length
  const known = await preflight('/app/x', PAGE)
  t.equal(known.status, 204)
  t.match(known.headers, {
    'access-control-allow-origin': PAGE,
    'access-control-allow-methods': 'GET, PUT',
    'access-control-allow-headers': 'authorization,content-type',
    'access-control-allow-credentials': 'true',
    'access-control-max-age': '600',
  })
  const stranger = await preflight('/app/x', OTHER)
  t.equal(stranger.status, 204)
  t.equal(stranger.headers['access-control-allow-origin'], undefined)
  t.equal(service.seen.length, before)
})

t.test(
  'without rules the service answers pages: preflights go to it through any door, and nothing else does',
  async (t) => {
    for (const path of ['/plain/x', '/open/x']) {
      const { status, headers } = await preflight(path, OTHER, 'SPECIAL')
      t.equal(status, 204, path)
      t.match(headers, { 'access-control-allow-origin': OTHER, 'access-control-allow-methods': /SPECIAL/ })
      t.equal(service.seen.at(-1)?.url, '/x')
    }
    const { headers } = await get(gateway, '/plain', { ...bearer(token), origin: OTHER })
    t.match(headers, {
      'access-control-allow-origin': OTHER,
      'access-control-expose-headers': 'x-total-count',
    })
    const before = service.seen.length
    const odd = [
      { origin: OTHER },
      { 'access-control-request-method': 'PUT' },
      { origin: OTHER, 'access-control-request-method': 'PUT', cookie: 'sid=1' },
      { origin: OTHER, 'access-control-request-method': 'PUT', authorization: 'Bearer wrong' },
    ]
    for (const headers of odd)
      t.equal((await send(gateway, { method: 'OPTIONS', path: '/plain', headers })).status, 401)
    t.equal(
      (await get(gateway, '/plain', { origin: OTHER, 'access-control-request-method': 'PUT' })).status,
      401,
    )
    t.equal(service.seen.length, before)
  },
)

t.test('CORS_ALLOWLIST answers for routes without rules, with credentials where cookies pass', async (t) => {
  const listed = await startGateway(t, {
    modelsFile: servicesFile(t, services),
    env: { CORS_ALLOWLIST: `${OTHER},https://*.preview.example.com` },
  })
  const allowed = async (path: string, origin: string) => {
    const { headers } = await get(listed, path, { origin })
    return [headers['access-control-allow-origin'], headers['access-control-allow-credentials']]
  }
  t.strictSame(await allowed('/open', OTHER), [OTHER, 'true'])
  t.strictSame(await allowed('/plain', OTHER), [OTHER, undefined], 'no cookie passes there')
  const preview = 'https://pr-7.preview.example.com'
  t.strictSame(await allowed('/open', preview), [preview, undefined], 'a name that anybody may have taken')
  t.equal((await get(listed, '/open', { origin: PAGE })).headers['access-control-allow-origin'], undefined)
  t.equal((await get(listed, '/app', { origin: OTHER })).headers['access-control-allow-origin'], undefined)
  t.equal((await get(listed, '/app', { origin: PAGE })).headers['access-control-allow-origin'], PAGE)
})
