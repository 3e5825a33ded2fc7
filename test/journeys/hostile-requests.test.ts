import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { bearer, get, rawRequest } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { bodyOf, codeOf, statusOf } from '../support/hostile.ts'

const BODY_TIMEOUT_MS = 400
const CHAT = '/v1/chat/completions'

const gateway = await startGateway(t, {
  env: { BODY_TIMEOUT_MS: String(BODY_TIMEOUT_MS), UNAUTHENTICATED_PER_MINUTE: '100000' },
})
const token = await mintToken(t, gateway, { perMinute: 100_000 })
const errorOf = (answer: string) => codeOf(bodyOf(answer))
const auth = `Authorization: Bearer ${token}\r\n`
const head = (line: string, headers = '') =>
  `${line} HTTP/1.1\r\nHost: a\r\n${headers}Connection: close\r\n\r\n`
const postHead = (headers: string, body = '') =>
  `POST ${CHAT} HTTP/1.1\r\nHost: a\r\n${auth}Content-Type: application/json\r\nConnection: close\r\n${headers}\r\n${body}`

t.test('lines and headers that a client never sends are refused in the shape clients parse', async (t) => {
  const json = '{"model":"m","messages":[]}'
  const length = `Content-Length: ${json.length}\r\n`
  const many = Array.from({ length: 101 }, (_, index) => `x-h${index}: 1\r\n`).join('')
  const models = 'GET /v1/models'
  const cases: [string, string, number, string][] = [
    ['100 kB of headers', head(models, `x: ${'a'.repeat(100_000)}\r\n`), 431, 'headers_too_large'],
    ['101 headers', head(models, many), 431, 'headers_too_large'],
    ['a NUL in a header', head(models, 'x: a\0b\r\n'), 400, 'invalid_request'],
    ['a NUL in a header name', head(models, 'x\0y: a\r\n'), 400, 'invalid_request'],
    ['a blank before the colon', head(models, 'x-y : a\r\n'), 400, 'invalid_request'],
    ['a bare CR in a header', head(models, 'x: a\rb: c\r\n'), 400, 'invalid_request'],
    ['a folded header', head(models, 'x: a\r\n b\r\n'), 400, 'invalid_request'],
    ['a folded credential', head(models, `Authorization: Bearer\r\n ${token}\r\n`), 400, 'invalid_request'],
    ['two credentials', head(models, auth + auth), 400, 'invalid_request'],
    ['two hosts', head(models, `Host: b\r\n${auth}`), 400, 'invalid_request'],
    ['no host', `${models} HTTP/1.1\r\n${auth}Connection: close\r\n\r\n`, 400, 'invalid_request'],
    ['two lengths', postHead(`${length}Content-Length: 3\r\n`, json), 400, 'invalid_request'],
    ['the same length twice', postHead(length + length, json), 400, 'invalid_request'],
    [
      'a length and chunks',
      postHead(`${length}Transfer-Encoding: chunked\r\n`, `0\r\n\r\n`),
      400,
      'invalid_request',
    ],
    ['a negative length', postHead('Content-Length: -1\r\n', json), 400, 'invalid_request'],
    ['a length that is no number', postHead('Content-Length: 1e1\r\n', json), 400, 'invalid_request'],
    [
      'an unknown coding',
      postHead('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
      400,
      'invalid_request',
    ],
    [
      'chunked not last',
      postHead('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n'),
      400,
      'invalid_request',
    ],
    [
      'a chunk size that is none',
      postHead('Transfer-Encoding: chunked\r\n', 'ZZ\r\n'),
      400,
      'invalid_request',
    ],
    [
      'a body in no coding that is known',
      postHead(`${length}Content-Encoding: pack200-gzip\r\n`, json),
      415,
      'unsupported_media_type',
    ],
    [
      'a body that is not in its coding',
      postHead(`${length}Content-Encoding: gzip\r\n`, json),
      400,
      'invalid_request',
    ],
    ['an absolute URL', head('GET http://evil.example/v1/models', auth), 400, 'invalid_request'],
    ['two slashes', head('POST //v1//chat/completions', auth), 415, 'unsupported_media_type'],
    ['an encoded slash', head('POST /v1%2fchat%2fcompletions', auth), 404, 'not_found'],
    ['dots', head('GET /v1/../health', auth), 400, 'invalid_request'],
    ['encoded dots', head('GET /v1/%2e%2e/health', auth), 400, 'invalid_request'],
    ['a NUL in the path', head('GET /v1/models/a%00', auth), 400, 'invalid_request'],
    ['a broken escape', head('GET /v1/models/%zz', auth), 400, 'invalid_request'],
    ['a long model in the path', head(`GET /v1/models/${'a'.repeat(5000)}`, auth), 404, 'model_not_found'],
    ['an odd expectation', postHead('Content-Length: 2\r\nExpect: wonders\r\n', '{}'), 400, 'missing_model'],
    ['a long query', head(`GET /v1/models?a=${'a'.repeat(15_000)}`, ''), 401, 'invalid_api_key'],
    ['a very long URL', head(`GET /${'a'.repeat(100_000)}`), 431, 'headers_too_large'],
    ['CONNECT', head('CONNECT evil.example:443'), 400, 'invalid_request'],
    ['TRACE', head('TRACE /v1/models', auth), 404, 'not_found'],
    ['OPTIONS *', head('OPTIONS *'), 400, 'invalid_request'],
    ['a method of its own', head('BREW /v1/models', auth), 400, 'invalid_request'],
    ['PROPFIND', head('PROPFIND /v1/models', auth), 404, 'not_found'],
    ['DELETE', head('DELETE /v1/models', auth), 404, 'not_found'],
    ['GET where POST belongs', head(`GET ${CHAT}`, auth), 404, 'not_found'],
    ['HTTP/2 in clear', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'invalid_request'],
    ['HTTP/0.9', 'GET /\r\n\r\n', 404, 'not_found'],
    ['HTTP/9.9', 'GET / HTTP/9.9\r\nHost: a\r\n\r\n', 400, 'invalid_request'],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'invalid_request'],
  ]
  const answers = await Promise.all(
    cases.map(([, bytes]) => rawRequest(gateway.port, Buffer.from(bytes, 'latin1'), 2000)),
  )
  for (const [index, [name, , status, code]] of cases.entries()) {
    const answer = answers[index] ?? ''
    t.equal(statusOf(answer), status, `${name}: ${answer.slice(0, 200)}`)
    t.equal(errorOf(answer), code, name)
    t.match(answer, /x-request-id: req_/i, name)
  }
})

t.test('an upgrade that is not served is refused or ignored, never left hanging', async (t) => {
  const upgrades: [string, string, string][] = [
    [
      'a websocket',
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n',
      'model_not_found',
    ],
    [
      'h2c',
      'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n',
      'upgrade_required',
    ],
    ['nonsense', 'Upgrade: nonsense/9\r\nConnection: Upgrade\r\n', 'upgrade_required'],
  ]
  for (const [name, headers, code] of upgrades) {
    const answer = await rawRequest(
      gateway.port,
      `GET /v1/realtime?model=m HTTP/1.1\r\nHost: a\r\n${auth}${headers}\r\n`,
    )
    t.ok(statusOf(answer) >= 400 && statusOf(answer) < 500, `${name}: ${answer.slice(0, 100)}`)
    t.equal(errorOf(answer), code, name)
  }
})

t.test('HTTP/1.0 is answered, and closed', async (t) => {
  const answer = await rawRequest(gateway.port, `GET /v1/models HTTP/1.0\r\n${auth}\r\n`, 2000)
  t.equal(statusOf(answer), 200)
})

t.test('of two credentials in different headers the first of the contract counts', async (t) => {
  const right = { ...bearer(token), 'x-api-key': 'gw-unknown' }
  t.equal((await get(gateway, '/v1/models', right)).status, 200)
  const wrong = { ...bearer('gw-unknown'), 'x-api-key': token }
  t.equal((await get(gateway, '/v1/models', wrong)).status, 401)
})

t.test('a credential in the URL is refused, and the log never shows it', async (t) => {
  const secret = 'gw-thissecretstandsintheurl0000000000000000000'
  const names = ['api_key', 'api-key', 'apikey', 'x-api-key', 'key', 'token', 'access_token', 'masterToken']
  for (const name of [...names, 'authorization', 'API_KEY', '%6bey', 'ke%79']) {
    const reply = await get(gateway, `/v1/models?a=b&${name}=${secret}`, bearer(token))
    t.equal(reply.status, 400, name)
    t.equal(codeOf(reply.text), 'credential_in_url', name)
    t.notMatch(reply.text, secret)
  }
  t.notOk(gateway.stdout().includes('thissecretstandsintheurl'))
})

t.test('a request id that could break a log or a header is replaced', async (t) => {
  for (const id of ['a b', 'a"b', '<script>', 'x'.repeat(129), 'é', '%0d%0a', '']) {
    const reply = await get(gateway, '/health', { 'x-request-id': Buffer.from(id).toString('latin1') })
    t.match(reply.headers['x-request-id'], /^req_[0-9a-z]+$/, id)
  }
  const kept = await get(gateway, '/health', { 'x-request-id': 'My-Id:1.2_3' })
  t.equal(kept.headers['x-request-id'], 'My-Id:1.2_3')
})

t.test('a body that does not arrive is given up in time, and its connection ends', async (t) => {
  const from = performance.now()
  const slow = connect(gateway.port, '127.0.0.1')
  slow.write(
    `POST ${CHAT} HTTP/1.1\r\nHost: a\r\n${auth}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"mod`,
  )
  let answer = ''
  slow.on('data', (bytes) => {
    answer += bytes
  })
  slow.on('error', () => undefined)
  // Somebody who sends a byte now and then must not hold the connection either.
  const trickle = setInterval(() => slow.writable && slow.write(' '), 50)
  await once(slow, 'close')
  clearInterval(trickle)
  const ms = performance.now() - from
  t.equal(statusOf(answer), 408)
  t.equal(errorOf(answer), 'request_timeout')
  t.ok(ms >= BODY_TIMEOUT_MS && ms < BODY_TIMEOUT_MS + 7000, `closed after ${Math.round(ms)} ms`)
})

t.test('after all of it the same process serves, and has complained about none of it', async (t) => {
  t.equal((await get(gateway, '/v1/models', bearer(token))).status, 200)
  t.strictSame(
    gateway.lines().filter(({ level }) => level === 'error' || level === 'fatal'),
    [],
  )
})
