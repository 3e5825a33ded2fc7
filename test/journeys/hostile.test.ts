import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { bearer, credits, get, post, rawRequest } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'

const MIB = 1024 * 1024
const BODY_TIMEOUT_MS = 400
const CHAT = '/v1/chat/completions'

const provider = await startProvider(t)
const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
  env: {
    ...providerKeys('main'),
    BODY_TIMEOUT_MS: String(BODY_TIMEOUT_MS),
    RATE_LIMIT_PER_MINUTE: '100000',
    UNAUTHENTICATED_PER_MINUTE: '100000',
  },
})
const token = await mintToken(t, gateway)
const before = await credits(gateway, token)
const rssAtStart = await rss()

/** kB of memory in use by the gateway, where the system tells. */
async function rss(): Promise<number> {
  const { readFile } = await import('node:fs/promises')
  const status = await readFile(`/proc/${gateway.pid}/status`, 'utf8').catch(() => '')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0)
}

/** The slowest answer of `/health` while `work` goes on: how long the event loop stood still. */
async function stallDuring<T>(work: Promise<T>): Promise<{ result: T; stallMs: number }> {
  let isOver = false
  const over = work.finally(() => {
    isOver = true
  })
  let stallMs = 0
  while (!isOver) {
    const from = performance.now()
    await get(gateway, '/health')
    stallMs = Math.max(stallMs, performance.now() - from)
  }
  return { result: await over, stallMs }
}

const codeOf = (body: string): unknown => {
  const { error } = JSON.parse(body)
  return Object.keys(error).join() === 'message,type,param,code' ? error.code : `odd shape: ${body}`
}

const auth = `Authorization: Bearer ${token}\r\n`
const head = (line: string, headers = '') =>
  `${line} HTTP/1.1\r\nHost: a\r\n${headers}Connection: close\r\n\r\n`
const postHead = (headers: string, body = '') =>
  `POST ${CHAT} HTTP/1.1\r\nHost: a\r\n${auth}Content-Type: application/json\r\nConnection: close\r\n${headers}\r\n${body}`
const statusOf = (answer: string) => Number(answer.slice(9, 12))
const errorOf = (answer: string) => codeOf(answer.slice(answer.indexOf('\r\n\r\n') + 4))

const deep = (levels: number) => `{"model":"m","messages":${'['.repeat(levels)}${']'.repeat(levels)}}`
const withField = (field: string) => `{"model":"m","messages":[],${field}}`

t.test('a body that is no request is refused by name, and nobody is asked', async (t) => {
  const asked = provider.requests.length
  const cases: [string, string | Buffer, number, string][] = [
    ['an array', '[]', 400, 'invalid_json'],
    ['a string', '"a"', 400, 'invalid_json'],
    ['a number', '1', 400, 'invalid_json'],
    ['null', 'null', 400, 'invalid_json'],
    ['nothing', '', 400, 'invalid_json'],
    ['blanks', ' \n\t ', 400, 'invalid_json'],
    ['cut short', '{"model":"m","messages":[', 400, 'invalid_json'],
    ['cut in a string', '{"model":"m', 400, 'invalid_json'],
    ['something behind it', '{"model":"m"}x', 400, 'invalid_json'],
    ['two objects', '{"model":"m"}{"model":"m"}', 400, 'invalid_json'],
    ['single quotes', "{'model':'m'}", 400, 'invalid_json'],
    ['a NUL', '{"model":"m"\0}', 400, 'invalid_json'],
    ['NULs alone', '\0\0\0\0', 400, 'invalid_json'],
    ['__proto__', '{"model":"m","__proto__":{"a":1}}', 400, 'invalid_json'],
    ['an escaped __proto__', '{"model":"m","__pr\\u006fto__":{"a":1}}', 400, 'invalid_json'],
    ['no model', '{"messages":[]}', 400, 'missing_model'],
    ['a null model', '{"model":null}', 400, 'missing_model'],
    ['an empty model', '{"model":""}', 400, 'missing_model'],
    ['a number as the model', '{"model":1}', 400, 'invalid_request'],
    ['a list as the model', '{"model":[]}', 400, 'invalid_request'],
    ['an object as the model', '{"model":{}}', 400, 'invalid_request'],
    ['true as the model', '{"model":true}', 400, 'invalid_request'],
    ['a long model', `{"model":"${'x'.repeat(300)}"}`, 400, 'invalid_request'],
    ['CR LF in the model', '{"model":"m\\r\\nx-evil: 1"}', 400, 'invalid_request'],
    ['ANSI in the model', '{"model":"\\u001b[31mm"}', 400, 'invalid_request'],
    ['C1 controls in the model', '{"model":"m\\u009b31m"}', 400, 'invalid_request'],
    ['a lone surrogate in the model', '{"model":"m\\ud800"}', 400, 'invalid_request'],
    ['an unknown model', '{"model":"../../etc/passwd"}', 404, 'model_not_found'],
    ['"constructor" as the model', '{"model":"constructor"}', 404, 'model_not_found'],
    ['"__proto__" as the model', '{"model":"__proto__"}', 404, 'model_not_found'],
    ['stream as text', withField('"stream":"yes"'), 400, 'invalid_request'],
    ['stream as a number', withField('"stream":1'), 400, 'invalid_request'],
    ['stream options as text', withField('"stream":true,"stream_options":"x"'), 400, 'invalid_request'],
    ['stream options as a list', withField('"stream":true,"stream_options":[]'), 400, 'invalid_request'],
    ['max_tokens as text', withField('"max_tokens":"many"'), 400, 'invalid_request'],
    ['negative max_tokens', withField('"max_tokens":-1'), 400, 'invalid_request'],
    ['half a token', withField('"max_tokens":1.5'), 400, 'invalid_request'],
    ['endless tokens', withField('"max_tokens":1e999'), 400, 'invalid_request'],
    ['max_completion_tokens as a list', withField('"max_completion_tokens":[]'), 400, 'invalid_request'],
    ['a billion answers', withField('"n":1e9'), 400, 'invalid_request'],
    ['no answer', withField('"n":0'), 400, 'invalid_request'],
    ['n as text', withField('"n":"2"'), 400, 'invalid_request'],
    ['more than the balance', withField('"max_tokens":9007199254740991,"n":128'), 429, 'insufficient_quota'],
    ['5,000 levels, unclosed', `{"model":"m","messages":${'['.repeat(5000)}}`, 400, 'invalid_json'],
    ['500,000 levels, unclosed', `{"model":"m","a":${'{"a":'.repeat(500_000)}`, 400, 'invalid_json'],
  ]
  for (const [name, body, status, code] of cases) {
    const reply = await post(gateway, CHAT, body, bearer(token))
    t.equal(reply.status, status, `${name}: ${reply.text}`)
    t.equal(codeOf(reply.text), code, name)
    t.ok(reply.headers['x-request-id'], name)
    t.equal(reply.headers['x-should-retry'], 'false', name)
  }
  t.equal(provider.requests.length, asked, 'no provider was asked')
})

t.test('odd bodies either pass byte for byte or are refused as JSON', async (t) => {
  const cases: [string, string | Buffer][] = [
    ['101 levels', deep(101)],
    ['5,000 levels', deep(5000)],
    ['500,000 levels', deep(500_000)],
    ['a byte order mark', '\uFEFF{"model":"m","messages":[]}'],
    ['invalid UTF-8', Buffer.from('{"model":"m","messages":"\xff\xfe\xc3("}', 'latin1')],
    ['lone surrogates', withField('"x":"\\ud800 \\udc00"')],
    ['messages as a number', '{"model":"m","messages":1}'],
    ['messages as null', '{"model":"m","messages":null}'],
    ['a nested __proto__', '{"model":"m","messages":[{"__proto__":{"a":1}}]}'],
  ]
  for (const [name, body] of cases) {
    const asked = provider.requests.length
    const { result, stallMs } = await stallDuring(post(gateway, CHAT, body, bearer(token)))
    t.ok(stallMs < 200, `${name}: stalled ${Math.round(stallMs)} ms`)
    if (result.status !== 200) {
      t.match([result.status, codeOf(result.text)], [400, 'invalid_json'], name)
      t.equal(provider.requests.length, asked, name)
      continue
    }
    t.ok(provider.requests.at(-1)?.body.equals(Buffer.from(body)), `${name} passes as it came`)
  }
})

t.test('10 MiB pass, one byte more does not, announced or not', async (t) => {
  const asked = provider.requests.length
  const start = '{"model":"m","a":"'
  const most = `${start}${'x'.repeat(10 * MIB - start.length - 2)}"}`
  // Not the usual one, which would parse 10 MiB in this very process.
  provider.queue(chat({ model: 'm' }), chat({ model: 'm' }))
  const rich = await mintToken(t, gateway, { credits: 1_000_000_000 })
  const whole = await stallDuring(post(gateway, CHAT, most, bearer(rich)))
  t.equal(whole.result.status, 200, whole.result.text)
  t.ok(whole.stallMs < 200, `stalled ${Math.round(whole.stallMs)} ms`)
  const lists = `{"model":"m","a":[${'[],'.repeat((10 * MIB - 50) / 3)}[]]}`
  const many = await stallDuring(post(gateway, CHAT, lists, bearer(rich)))
  t.ok(many.result.status < 500, many.result.text.slice(0, 200))
  t.ok(many.stallMs < 200, `stalled ${Math.round(many.stallMs)} ms by lists`)
  const passed = provider.requests.length
  t.equal(passed, asked + 2)

  const announced = await post(gateway, CHAT, `${most} `, bearer(rich))
  t.equal(announced.status, 413)
  t.equal(announced.json().error.code, 'request_too_large')
  const chunk = Buffer.from(`${(10 * MIB + 1).toString(16)}\r\n${most} \r\n0\r\n\r\n`)
  const chunked = await rawRequest(
    gateway.port,
    Buffer.concat([Buffer.from(postHead('Transfer-Encoding: chunked\r\n')), chunk]),
  )
  t.equal(statusOf(chunked), 413)
  t.equal(provider.requests.length, passed, 'nobody was asked')
})

t.test('after a refused body the connection goes on, or is closed', async (t) => {
  const announced = `POST ${CHAT} HTTP/1.1\r\nHost: a\r\n${auth}Content-Type: application/json\r\nContent-Length: ${11 * MIB}\r\n\r\n`
  const next = head('GET /health')
  const answer = await rawRequest(
    gateway.port,
    Buffer.concat([Buffer.from(announced), Buffer.alloc(11 * MIB, 32), Buffer.from(next)]),
  )
  t.equal(statusOf(answer), 413)
  t.ok(answer.includes('{"status":"ok"}') || /connection: close/i.test(answer), answer)
})

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
      'a compressed body',
      postHead(`${length}Content-Encoding: gzip\r\n`, json),
      415,
      'unsupported_media_type',
    ],
    ['an absolute URL', head('GET http://evil.example/v1/models', auth), 400, 'invalid_request'],
    ['two slashes', head('POST //v1//chat/completions', auth), 404, 'not_found'],
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
  const upgrades: [string, string][] = [
    [
      'a websocket',
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n',
    ],
    ['h2c', 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n'],
    ['nonsense', 'Upgrade: nonsense/9\r\nConnection: Upgrade\r\n'],
  ]
  for (const [name, headers] of upgrades) {
    const answer = await rawRequest(
      gateway.port,
      `GET /v1/realtime?model=m HTTP/1.1\r\nHost: a\r\n${auth}${headers}\r\n`,
    )
    t.ok(statusOf(answer) >= 400 && statusOf(answer) < 500, `${name}: ${answer.slice(0, 100)}`)
    t.equal(errorOf(answer), 'not_found', name)
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

t.test(
  'after all of it the same process serves, holds nothing and has charged nothing for refusals',
  async (t) => {
    const asked = provider.requests.length
    const reply = await post(gateway, CHAT, { model: 'm', messages: [] }, bearer(token))
    t.equal(reply.status, 200)
    t.equal(provider.requests.length, asked + 1)
    const after = await credits(gateway, token)
    t.equal(after.held, 0)
    t.equal(after.credited, after.balance + after.charged)
    t.ok(after.charged < before.charged + 1_000_000)
    const complaints = gateway.lines().filter(({ level }) => level === 'error' || level === 'fatal')
    t.strictSame(complaints, [], 'nobody was refused by accident')
    const grown = ((await rss()) - rssAtStart) / 1024
    t.ok(grown < 400, `grew by ${Math.round(grown)} MiB`)
  },
)
