import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { makeJwt, SECRET } from '../support/jwt.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import type { Owner } from '../support/waiting.ts'
import { openWire, requestText } from '../support/wire.ts'

const INTERNAL_KEY = 'internal-key-of-the-gateway'

async function openScene(t: Owner) {
  const backend = await startByteBackend(t)
  const targets = [{ origin: backend.origin, basePath: '' }]
  const rules = { set: { 'x-rule': 'of-the-operator' }, remove: [], pass: [] }
  const gateway = await openServiceGateway(
    t,
    [
      { prefix: '/token', targets, sendsInternalKey: true, requestHeaders: rules },
      { prefix: '/jwt', entry: 'jwt', targets, sendsInternalKey: true },
      { prefix: '/open', entry: 'open', targets, sendsInternalKey: true },
      { prefix: '/query', targets, takesQueryKey: true },
    ],
    { env: { JWT_SECRET: SECRET, INTERNAL_API_KEY: INTERNAL_KEY } },
  )
  const ask = async (line: string, fields: readonly string[] = [], body = '') => {
    const wire = openWire(t, gateway.port, requestText(line, fields, body))
    return { status: Number((await wire.whole()).slice(9, 12)), seen: backend.seen.at(-1) }
  }
  const jwt = makeJwt({ claims: { sub: 'ann', exp: Math.floor(Date.now() / 1000) + 60 } })
  return { backend, gateway, ask, key: `x-api-key: ${gateway.token}`, bearer: `authorization: Bearer ${jwt}` }
}

t.test('what a service answers with the request itself holds nothing that is its own', async (t) => {
  const { ask, key } = await openScene(t)
  const asked = await ask('GET /token/a', [key])
  t.equal(asked.seen?.field('x-internal-api-key'), INTERNAL_KEY)
  t.equal(asked.seen?.field('x-rule'), 'of-the-operator')
  for (const [line, fields] of [
    ['TRACE /token/a', [key]],
    ['TRACE /open/a', []],
  ] as const) {
    const { status, seen } = await ask(line, fields)
    t.equal(status, 200)
    t.equal(seen?.lines[0], 'TRACE /a HTTP/1.1')
    t.notMatch(seen?.lines.join('\n'), /internal-key|of-the-operator/, line)
  }
})

t.test('a question of a page asks for no other method in its place', async (t) => {
  const { ask, key } = await openScene(t)
  const question = ['origin: https://a.example', 'access-control-request-method: GET']
  const override = 'x-http-method-override: DELETE'
  const { status, seen } = await ask('OPTIONS /token/users/42', [...question, override])
  t.equal(status, 200)
  t.equal(seen?.field('x-http-method-override'), undefined)
  const known = await ask('POST /token/users/42', [key, override])
  t.equal(known.seen?.field('x-http-method-override'), 'DELETE', 'who is known may')
})

t.test('no mark in a name makes a service read it as one of the gateway', async (t) => {
  const { ask, bearer } = await openScene(t)
  const forged = [
    ...['x.user.id', 'X~User~Id', 'x-user.claims', 'x.internal-api.key', "x'user'id", 'x!token!user'],
    ...['x.forwarded.for', 'x+http+method+override', 'x_user_id', 'forwarded-for', 'proxy-client-ip'],
  ]
  const { seen } = await ask('GET /jwt/me', [
    bearer,
    ...forged.map((name) => `${name}: forged`),
    'x.own: mine',
  ])
  t.equal(seen?.field('x-user-id'), 'ann')
  t.notMatch(seen?.lines.join('\n'), /forged/)
  t.equal(seen?.field('x.own'), 'mine')
})

t.test('behind a body nobody says who is asking', async (t) => {
  const { backend, ask, bearer } = await openScene(t)
  const names = ['X-User-Id', 'X.Internal.Api.Key', 'Authorization', 'Cookie', 'X-Method-Override']
  const trailers = names.map((name) => `${name}: forged\r\n`).join('')
  await ask(
    'POST /jwt/a',
    [bearer, 'transfer-encoding: chunked', 'trailer: x-sum'],
    `1\r\na\r\n0\r\nX-Sum: 1\r\n${trailers}\r\n`,
  )
  const body = await backend.until('the trailers', () => {
    const text = backend.seen.at(-1)?.body() ?? ''
    return text.endsWith('\r\n\r\n') ? text : undefined
  })
  t.match(body, /x-sum: 1\r\n/i)
  t.notMatch(body, /forged/)
})

t.test('a page that was asked for with a key in its query tells no service of it', async (t) => {
  const { backend, gateway, ask, key } = await openScene(t)
  const page = 'https://public.example/query/page'
  for (const name of ['api_key', 'api%5Fkey', 'API-KEY', 'x-api-key'])
    for (const path of [`/query/a?api_key=${gateway.token}`, '/token/a', '/open/a']) {
      const { seen } = await ask(`GET ${path}`, [key, `referer: ${page}?a=1&${name}=${gateway.token}`])
      t.equal(seen?.field('referer'), page, `${name} ${path}`)
    }
  t.notMatch(JSON.stringify(backend.seen.map(({ lines }) => lines)), gateway.token)
  const { seen } = await ask('GET /open/a', [`referer: ${page}?token=theirs&map_key=1`])
  t.equal(seen?.field('referer'), `${page}?token=theirs&map_key=1`)
})

t.test('a cookie that the root of a service sets goes to no service beside it', async (t) => {
  const { backend, gateway } = await openScene(t)
  backend.act = ({ socket }) =>
    void socket.write('HTTP/1.1 200 OK\r\nset-cookie: sid=1; HttpOnly\r\ncontent-length: 0\r\n\r\n')
  const cookieOf = async (path: string) =>
    /set-cookie: (.*)\r\n/i.exec(await openWire(t, gateway.port, requestText(`GET ${path}`)).whole())?.[1]
  t.equal(await cookieOf('/open?a=1'), 'sid=1; HttpOnly; Path=/open')
  t.equal(await cookieOf('/open/x'), 'sid=1; HttpOnly')
})
