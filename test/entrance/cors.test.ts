import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import { buildRoute, type SaidRoute } from '../../src/config/catalog/service-row.ts'
import { originCheck, routeCors, servicePreflightCheck } from '../../src/entrance/cors.ts'

const PAGE = 'https://app.example.com'
const OTHER = 'https://evil.example.org'

interface Scene {
  allowlist?: readonly string[]
  /** The rules of `/service`; a route without `cors` has none of its own. */
  said?: Omit<SaidRoute, 'prefix'>
}

/** A door of the gateway's own at `/own`, a service at `/service`, and one that refuses. */
async function open({ allowlist = [], said = {} }: Scene) {
  const app = Fastify()
  const route = buildRoute({ prefix: '/service', ...said })
  app.decorateRequest('service')
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.url.startsWith('/service')) request.service = { route, entry: route.entry }
    done()
  })
  await app.register(routeCors, { allowlist })
  app.get('/own', async () => 'own')
  app.all('/service', async ({ method, cors }) => ({ method, isOurs: cors !== undefined }))
  app.get('/service/refused', async (_request, reply) => reply.code(401).send())
  return app
}

const asked = (origin: string, method: string, headers: Record<string, string> = {}) => ({
  method: 'OPTIONS' as const,
  url: '/service',
  headers: { origin, 'access-control-request-method': method, ...headers },
})

t.test("a route's rules beat the gateway's, with credentials where they say so", async (t) => {
  const app = await open({
    allowlist: ['https://other.example.com'],
    said: { cors: { origins: [PAGE, 'https://*.preview.example.com'], credentials: true } },
  })
  for (const origin of [PAGE, 'https://pr-7.preview.example.com'])
    for (const url of ['/service', '/service/refused']) {
      const { headers } = await app.inject({ url, headers: { origin } })
      t.match(headers, {
        'access-control-allow-origin': origin,
        'access-control-allow-credentials': 'true',
        'access-control-expose-headers': /x-request-id.*retry-after/,
        vary: 'Origin',
      })
    }
  for (const origin of ['https://other.example.com', OTHER, 'null', 'https://a.b.preview.example.com']) {
    const { headers, statusCode } = await app.inject({ url: '/service', headers: { origin } })
    t.equal(statusCode, 200)
    t.equal(headers['access-control-allow-origin'], undefined, origin)
    t.equal(headers['access-control-allow-credentials'], undefined, origin)
    t.equal(headers.vary, 'Origin', 'a cache must not mix them up')
  }
  const own = await app.inject({ url: '/own', headers: { origin: 'https://other.example.com' } })
  t.equal(own.headers['access-control-allow-origin'], 'https://other.example.com')
  t.equal(own.headers['access-control-allow-credentials'], undefined, 'never on our own doors')
  const stranger = await app.inject({ url: '/own', headers: { origin: PAGE } })
  t.equal(stranger.headers['access-control-allow-origin'], undefined)
})

t.test("a preflight is answered by the gateway, with the route's methods and what was asked", async (t) => {
  const cors = { origins: [PAGE], credentials: true }
  const app = await open({ said: { cors, methods: ['GET', 'PUT'] } })
  const known = await app.inject(
    asked(PAGE, 'PUT', { 'access-control-request-headers': 'authorization,content-type' }),
  )
  t.equal(known.statusCode, 204)
  t.equal(known.body, '')
  t.match(known.headers, {
    'access-control-allow-origin': PAGE,
    'access-control-allow-credentials': 'true',
    'access-control-allow-methods': 'GET, PUT',
    'access-control-allow-headers': 'authorization,content-type',
    'access-control-max-age': '600',
    vary: /Origin/,
  })
  const stranger = await app.inject(asked(OTHER, 'PUT'))
  t.equal(stranger.statusCode, 204)
  for (const name of ['origin', 'methods', 'headers', 'credentials'])
    t.equal(stranger.headers[`access-control-allow-${name}`], undefined, name)
  const any = await open({ said: { cors } })
  const odd = await any.inject(asked(PAGE, 'PROPFIND'))
  t.match(odd.headers['access-control-allow-methods'], /GET.*DELETE, PROPFIND$/)
})

t.test('OPTIONS that is no preflight goes to the service, whoever answers CORS', async (t) => {
  const app = await open({ said: { cors: { origins: [PAGE], credentials: false } } })
  const ways: Record<string, string>[] = [
    {},
    { origin: PAGE },
    { 'access-control-request-method': 'PUT' },
    { origin: PAGE, 'access-control-request-method': 'PUT', authorization: 'Bearer x' },
  ]
  for (const headers of ways) {
    const seen = await app.inject({ method: 'OPTIONS', url: '/service', headers })
    t.equal(seen.statusCode, 200)
    t.equal(seen.json().method, 'OPTIONS')
  }
})

t.test('without rules of the route and of the gateway CORS is left to the service', async (t) => {
  const app = await open({})
  const seen = await app.inject({ url: '/service', headers: { origin: PAGE } })
  t.same(seen.json(), { method: 'GET', isOurs: false })
  t.equal(seen.headers.vary, undefined)
  t.equal((await app.inject(asked(PAGE, 'PUT'))).json().method, 'OPTIONS')
  const all = await open({ allowlist: [PAGE] })
  t.equal((await all.inject({ url: '/service', headers: { origin: OTHER } })).json().isOurs, true)
})

t.test(
  'a preflight goes to the service through any door where CORS is left to it, and only without a credential',
  async (t) => {
    const raw = new IncomingMessage(new Socket())
    raw.method = 'OPTIONS'
    raw.headers = asked(PAGE, 'PUT').headers
    const route = buildRoute({ prefix: '/service' })
    const own = buildRoute({ prefix: '/service', cors: { origins: [PAGE], credentials: false } })
    const isServices = servicePreflightCheck([])
    t.equal(isServices(raw, { route, entry: 'jwt' }), true)
    t.equal(isServices(raw, { route: own, entry: 'jwt' }), false)
    t.equal(servicePreflightCheck([PAGE])(raw, { route, entry: 'jwt' }), false)
    raw.headers.cookie = 'sid=1'
    t.equal(isServices(raw, { route, entry: 'jwt' }), false)
  },
)

t.test('a page opens sockets by the rules of the route, or when it is of the very host', async (t) => {
  const app = Fastify()
  const cases: [origin: string, host: string, cors: string[] | undefined, expected: boolean][] = [
    [PAGE, 'api.example.com', [PAGE], true],
    [OTHER, 'api.example.com', [PAGE], false],
    ['https://listed.example.com', 'api.example.com', undefined, true],
    ['https://listed.example.com', 'api.example.com', [PAGE], false],
    ['https://api.example.com', 'api.example.com', [PAGE], true],
    ['https://API.example.com:8443', 'api.example.com:8443', undefined, true],
    ['https://api.example.com:8443', 'api.example.com', undefined, false],
    ['null', 'null', undefined, false],
  ]
  const isAllowed = originCheck(['https://listed.example.com'])
  app.decorateRequest('service')
  app.get('/:index', async (request) => {
    const [origin, , origins] = cases[Number(Object.values(request.params ?? {})[0])] ?? ['', '', []]
    const cors = origins && { origins, credentials: false }
    request.service = { route: buildRoute({ prefix: '/ws', cors }), entry: 'open' }
    return isAllowed(origin, request)
  })
  for (const [index, [origin, host, , expected]] of cases.entries()) {
    const { body } = await app.inject({ url: `/${index}`, headers: { host } })
    t.equal(body, String(expected), `${origin} at ${host}`)
  }
})
