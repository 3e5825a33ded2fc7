import { createHash } from 'node:crypto'
import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { encode, makeJwt, SECRET } from '../support/jwt.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import type { Owner } from '../support/waiting.ts'
import { openWire, requestText } from '../support/wire.ts'

/** The whole app reads the clock that everybody has. */
function nowS(): number {
  return Math.floor(Date.now() / 1000)
}
function personJwt(claims: object = {}, key = SECRET): string {
  return makeJwt({ claims: { sub: 'ann', exp: nowS() + 60, ...claims }, key })
}

async function openScene(t: Owner, env: Record<string, string> = {}) {
  const backend = await startByteBackend(t)
  const targets = [{ origin: backend.origin, basePath: '' }]
  const gateway = await openServiceGateway(
    t,
    [
      { prefix: '/token', name: 'by-token', targets },
      { prefix: '/jwt', entry: 'jwt', targets },
      { prefix: '/any', entry: 'any', targets },
      { prefix: '/open', entry: 'open', targets },
      {
        prefix: '/rights',
        entry: 'any',
        targets,
        claims: { role: ['admin', 'editor'], scope: ['write'] },
        tokenTypes: ['admin'],
      },
      {
        prefix: '/partly',
        entry: 'any',
        targets,
        openPaths: [{ method: 'POST', path: '/login', isTree: false }],
      },
      {
        prefix: '/passing',
        entry: 'any',
        targets,
        requestHeaders: { set: {}, remove: [], pass: ['authorization'] },
      },
      { prefix: '/query', targets, takesQueryKey: true },
    ],
    { env: { JWT_SECRET: SECRET, ...env } },
  )
  const ask = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetch(gateway.url + path, { method, headers })
  const codeOf = async (path: string, headers: Record<string, string> = {}, method = 'GET') => {
    const answer = await ask(path, headers, method)
    const text = await answer.text()
    return answer.ok ? answer.status : `${answer.status} ${JSON.parse(text).error.code}`
  }
  return { backend, gateway, ask, codeOf }
}

function bearer(text: string): Record<string, string> {
  return { authorization: `Bearer ${text}` }
}

t.test('a service learns who calls from the gateway alone, and gets no credential', async (t) => {
  const { backend, gateway, ask } = await openScene(t)
  const jwt = personJwt({ sub: 'ü 1', iss: 'https://id.example', roles: ['a'] })
  const forged = {
    'x-user-id': 'admin',
    'x-user-claims': '{"sub":"admin"}',
    'x-token-id': '1',
    'x-token-user': 'r',
  }
  for (const path of ['/jwt/me', '/any/me']) {
    t.equal((await ask(path, { ...bearer(jwt), ...forged })).status, 200)
    const seen = backend.seen.at(-1)
    t.equal(seen?.field('x-user-id'), '%C3%BC%201')
    t.match(seen?.field('x-user-claims'), /^[\x20-\x7e]+$/)
    t.match(JSON.parse(seen?.field('x-user-claims') ?? ''), { sub: 'ü 1', roles: ['a'] })
    for (const name of ['authorization', 'x-token-id', 'x-token-user'])
      t.equal(seen?.field(name), undefined, name)
  }
  for (const headers of [bearer(gateway.token), { 'x-api-key': gateway.token }, { 'api-key': gateway.token }])
    for (const path of ['/token/me', '/any/me']) {
      t.equal((await ask(path, { ...headers, ...forged })).status, 200, path)
      const seen = backend.seen.at(-1)
      t.equal(seen?.field('x-token-id'), gateway.tokenId)
      t.equal(seen?.field('x-token-user'), 'ann')
      for (const name of ['authorization', 'x-api-key', 'api-key', 'x-user-id', 'x-user-claims'])
        t.equal(seen?.field(name), undefined, name)
    }
  t.notMatch(JSON.stringify(gateway.lines()), jwt)
  t.notMatch(JSON.stringify(gateway.lines()), gateway.token)
})

t.test('each entry takes what it says, and refuses the rest by name', async (t) => {
  const { backend, gateway, codeOf } = await openScene(t)
  const jwt = personJwt()
  const cases: [path: string, headers: Record<string, string>, code: number | string][] = [
    ['/token/a', {}, '401 invalid_api_key'],
    ['/token/a', bearer(jwt), '401 invalid_api_key'],
    ['/jwt/a', {}, '401 invalid_token'],
    ['/jwt/a', bearer(gateway.token), '401 invalid_token'],
    ['/jwt/a', { 'x-api-key': jwt }, '401 invalid_token'],
    ['/jwt/a', { authorization: `Basic ${jwt}` }, '401 invalid_token'],
    ['/jwt/a', { ...bearer(jwt), 'x-api-key': 'nonsense' }, 200],
    ['/any/a', {}, '401 invalid_api_key'],
    ['/any/a', { 'x-api-key': jwt }, '401 invalid_api_key'],
    ['/any/a', bearer('nonsense'), '401 invalid_api_key'],
    ['/any/a', bearer('not.a.jwt'), '401 invalid_token'],
    ['/any/a', { ...bearer('not.a.jwt'), 'x-api-key': gateway.token }, '401 invalid_token'],
    ['/any/a', bearer(`${jwt}.${jwt}`), '401 invalid_api_key'],
    ['/open/a', {}, 200],
    ['/open/a', bearer('whatever'), 200],
  ]
  for (const [path, headers, code] of cases)
    t.equal(await codeOf(path, headers), code, `${path} ${JSON.stringify(headers)}`)
  t.equal(backend.seen.at(-1)?.field('authorization'), 'Bearer whatever', 'an open service asks for itself')
  t.equal(backend.seen.length, 3)
})

t.test(
  'a refused JWT learns no more than that, the log why; one that was signed may learn more',
  async (t) => {
    const { gateway, ask } = await openScene(t)
    const refusals = [
      [makeJwt({ header: { alg: 'none' } }), 'JWT_ALGORITHM'],
      [personJwt({}, 'another secret of thirty-two char'), 'JWT_SIGNATURE'],
      [personJwt({ exp: nowS() - 3600 }, 'another secret of thirty-two char'), 'JWT_SIGNATURE'],
      [`${encode('{')}.${encode('{')}.x`, 'JWT_FORM'],
      ['x'.repeat(9000), 'JWT_SIZE'],
    ] as const
    const texts = new Set<string>()
    for (const [jwt, cause] of refusals) {
      const answer = await ask('/jwt/a', bearer(jwt))
      t.equal(answer.status, 401)
      t.match(
        answer.headers.get('www-authenticate'),
        /^Bearer error="invalid_token", error_description="[^"]+"$/,
      )
      texts.add(await answer.text())
      t.match(gateway.lines().at(-1), { status: 401, error: 'invalid_token', cause })
    }
    t.equal(texts.size, 1)
    t.notMatch([...texts][0], /signature|algorithm|secret/i)
    const expired = await ask('/jwt/a', bearer(personJwt({ exp: nowS() - 3600 })))
    t.match(await expired.json(), {
      error: { code: 'invalid_token', message: /has expired\. Sign in again/ },
    })
    t.match(expired.headers.get('www-authenticate'), /error_description="The JWT has expired/)
    const missing = await ask('/jwt/a')
    t.equal(missing.headers.get('www-authenticate'), 'Bearer', 'nothing was wrong with what was not sent')
    const large = await ask('/jwt/a', bearer(personJwt({ x: 'é'.repeat(1500) })))
    t.match(await large.json(), { error: { code: 'headers_too_large' } })
  },
)

t.test(
  'claims, types and lists decide about a route; a disabled token is told so by services alone',
  async (t) => {
    const { gateway, ask, codeOf } = await openScene(t)
    t.equal(await codeOf('/rights/a', bearer(personJwt({ role: 'editor', scope: 'read write' }))), 200)
    const few = await ask('/rights/a', bearer(personJwt({ role: 'editor', scope: 'read' })))
    t.equal(few.status, 403)
    t.match(few.headers.get('www-authenticate'), /^Bearer error="insufficient_scope"/)
    t.match(await few.json(), { error: { code: 'insufficient_rights', type: 'permission_error' } })
    t.equal(await codeOf('/rights/a', bearer(gateway.token)), '403 insufficient_rights')
    t.equal(await codeOf('/rights/a', bearer(await gateway.mint({ type: 'admin' }))), 200)
    for (const [services, path, code] of [
      [['by-token'], '/token/a', 200],
      [['by-token'], '/any/a', '403 insufficient_rights'],
      [['/any'], '/any/a', 200],
      [['/an'], '/any/a', '403 insufficient_rights'],
      [['/any', 'other'], '/token/a', '403 insufficient_rights'],
      [[], '/token/a', 200],
    ] as const)
      t.equal(await codeOf(path, bearer(await gateway.mint({ services }))), code, `${services} ${path}`)
    const onModels = bearer(await gateway.mint({ services: ['by-token'] }))
    t.equal(await codeOf('/v1/models', onModels), 200, 'models are not touched by it')
    await gateway.tokens.disable(gateway.tokenId, Date.now())
    t.equal(await codeOf('/token/a', bearer(gateway.token)), '403 key_disabled')
    t.equal(await codeOf('/v1/models', bearer(gateway.token)), '401 invalid_api_key')
    await gateway.tokens.revoke(gateway.tokenId, Date.now())
    t.equal(
      await codeOf('/token/a', bearer(gateway.token)),
      '401 invalid_api_key',
      'revoked is told to nobody',
    )
  },
)

t.test('open paths are open for their method alone; a header that passes is the service’s', async (t) => {
  const { backend, gateway, codeOf } = await openScene(t)
  t.equal(await codeOf('/partly/login', bearer('theirs'), 'POST'), 200)
  t.equal(backend.seen.at(-1)?.field('authorization'), 'Bearer theirs')
  t.equal(backend.seen.at(-1)?.field('x-user-id'), undefined)
  t.equal(await codeOf('/partly/login'), '401 invalid_api_key')
  t.equal(await codeOf('/partly/login/x', {}, 'POST'), '401 invalid_api_key')
  t.equal(await codeOf('/passing/a', { ...bearer('theirs'), 'x-api-key': gateway.token }), 200)
  t.equal(backend.seen.at(-1)?.field('authorization'), 'Bearer theirs')
  t.equal(backend.seen.at(-1)?.field('x-token-id'), gateway.tokenId)
  const jwt = personJwt()
  t.equal(await codeOf('/passing/a', bearer(jwt)), 200)
  t.equal(backend.seen.at(-1)?.field('authorization'), `Bearer ${jwt}`)
  t.equal(backend.seen.at(-1)?.field('x-user-id'), 'ann')
})

t.test('a key in the query lets in where the route says so, and is gone from there on', async (t) => {
  const { backend, gateway, codeOf } = await openScene(t)
  const { token } = gateway
  const sent: [query: string, arrives: string][] = [
    [`?api_key=${token}`, '/a'],
    [`?a=%20b&api_key=${token}&&c=+;=%zz`, '/a?a=%20b&&c=+;=%zz'],
    [`?api%5Fkey=${token.replace('-', '%2D')}&token=theirs&key=too`, '/a?token=theirs&key=too'],
    [`?&api_key=${token}`, '/a?'],
  ]
  for (const [query, arrives] of sent) {
    t.equal(await codeOf(`/query/a${query}`), 200, query)
    t.equal(backend.seen.at(-1)?.lines[0], `GET ${arrives} HTTP/1.1`)
  }
  t.equal(await codeOf('/query/a?b=1', { 'x-api-key': token }), 200)
  const reached = backend.seen.length
  for (const [path, code] of [
    ['/query/a?api_key=wrong-key', '401 invalid_api_key'],
    ['/query/a?api_key=', '401 invalid_api_key'],
    [`/query/a?api_key=${token}&api_key=${token}`, '400 invalid_request'],
    [`/query/a?api_key=${token}&api%5fkey=x`, '400 invalid_request'],
    [`/query/a?api_key=%zz`, '400 invalid_request'],
    [`/query/a?api-key=${token}`, '400 credential_in_url'],
    [`/query/a?API_KEY=${token}`, '400 credential_in_url'],
    [`/query/a?a=1;api_key=${token}`, '400 credential_in_url'],
    [`/query/a?api_key=${token}&x-api-key=${token}`, '400 credential_in_url'],
    [`/token/a?api_key=${token}`, '400 credential_in_url'],
    [`/open/a?apikey=${token}`, '400 credential_in_url'],
    [`/v1/models?api_key=${token}`, '400 credential_in_url'],
    [`/v1/models?access_token=${token}`, '400 credential_in_url'],
  ] as const)
    t.equal(await codeOf(path), code, path)
  t.equal(backend.seen.length, reached)
  for (const name of ['token', 'key', 'access_token', 'authorization'])
    t.equal(await codeOf(`/open/a?${name}=theirs`), 200, name)
  t.notMatch(JSON.stringify(gateway.lines()), token)
  t.notMatch(JSON.stringify(backend.seen.map(({ lines }) => lines)), token)
})

t.test('what runs for a person ends with the JWT, what runs for a token with its revocation', async (t) => {
  const { backend, gateway } = await openScene(t, { JWT_CLOCK_TOLERANCE_S: '0' })
  backend.act = ({ socket, lines }) => {
    if (!lines[0]?.includes('/silent'))
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n')
  }
  const exp = nowS() + 2
  const fields = [`authorization: Bearer ${personJwt({ exp })}`]
  const ofPerson = openWire(t, gateway.port, requestText('GET /jwt/stream', fields))
  const waiting = openWire(t, gateway.port, requestText('GET /jwt/silent', fields))
  const ofToken = openWire(t, gateway.port, requestText('GET /any/stream', [`x-api-key: ${gateway.token}`]))
  const ofAnybody = openWire(t, gateway.port, requestText('GET /open/stream'))
  for (const wire of [ofPerson, ofToken, ofAnybody])
    await wire.until('a byte', (text) => /\r\na\r\n/.test(text))
  t.notMatch(await ofPerson.whole(), /\r\n0\r\n/, 'it does not look whole')
  t.ok(Date.now() >= exp * 1000)
  t.match(await waiting.whole(), /^HTTP\/1\.1 401 [\s\S]*"code":"invalid_token"/, 'which clients refresh at')
  t.notOk(ofToken.isClosed())
  await gateway.revoke()
  t.notMatch(await ofToken.whole(), /\r\n0\r\n/)
  t.notOk(ofAnybody.isClosed())
})

t.test(
  'who tries JWTs is counted by address, like who tries tokens; who has a good one is not',
  async (t) => {
    const { codeOf } = await openScene(t, { UNAUTHENTICATED_PER_MINUTE: '3' })
    for (let tries = 0; tries < 3; tries += 1)
      t.equal(await codeOf('/jwt/a', bearer(`a.b.${tries}`)), '401 invalid_token')
    t.equal(await codeOf('/jwt/a', bearer('a.b.c')), '429 rate_limit_exceeded')
    t.equal(await codeOf('/token/a', bearer('wrong')), '429 rate_limit_exceeded')
    t.equal(await codeOf('/jwt/a', bearer(personJwt())), 200)
  },
)

/** RFC 6455 section 1.3. */
const WEBSOCKET_ID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

function handshake(path: string, protocols: string): string {
  return `GET ${path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: ${protocols}\r\n\r\n`
}

t.test('a page’s WebSocket brings a JWT as a subprotocol, which nobody is shown', async (t) => {
  const { backend, gateway } = await openScene(t, {
    UNAUTHENTICATED_PER_MINUTE: '2',
    JWT_CLOCK_TOLERANCE_S: '0',
  })
  backend.act = ({ socket, field }) => {
    const accept = createHash('sha1')
      .update(`${field('sec-websocket-key')}${WEBSOCKET_ID}`)
      .digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: chat\r\n\r\n`,
    )
  }
  for (let round = 0; round < 4; round += 1) {
    const exp = nowS() + 2
    const jwt = personJwt({ exp, jti: String(round) })
    const wire = openWire(t, gateway.port, handshake('/jwt/ws', `chat, bearer.${jwt}`))
    const answer = await wire.until('an answer', (text) => text.includes('\r\n\r\n') && text)
    t.match(answer, /^HTTP\/1\.1 101 /)
    t.match(answer, /sec-websocket-protocol: chat\r\n/i)
    const seen = backend.seen.at(-1)
    t.equal(seen?.field('sec-websocket-protocol'), 'chat')
    t.equal(seen?.field('x-user-id'), 'ann')
    t.notMatch(seen?.lines.join('\n'), jwt)
    if (round === 0) {
      await wire.whole()
      t.ok(Date.now() >= exp * 1000, 'it ends with the JWT')
    } else wire.socket.destroy()
  }
  backend.act = ({ socket }) => void socket.destroy()
  for (let round = 0; round < 4; round += 1) {
    const gone = openWire(t, gateway.port, handshake('/jwt/gone', `chat, bearer.${personJwt()}`))
    t.match(await gone.whole(), /^HTTP\/1\.1 502 /, 'what fails for somebody who is known is no guess')
  }
  const refused = openWire(t, gateway.port, handshake('/jwt/ws', 'chat, bearer.a.b.c'))
  t.match(await refused.whole(), /^HTTP\/1\.1 401 [\s\S]*invalid_token/)
})
