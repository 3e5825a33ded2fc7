import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { json, raw, status } from '../support/behaviour.ts'
import { bearer, credits, get, openStream, post, send } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { readRows, startJourney, waitForRow } from '../support/journey.ts'
import { chatBody, SOME_COUNTS } from '../support/openai-wire.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const price = { input: 1, output: 2 }
const journey = await startJourney(t, {
  providers: ['one', 'two', 'claude'],
  entries: { claude: { dialect: 'anthropic' } },
  models: {
    'gpt-a': { plan: [{ provider: 'one' }], price },
    renamed: { plan: [{ provider: 'one', model: 'a-much-longer/name:of-the-provider' }], price },
    'vendor/model:free': 'one',
    forbidden: 'one',
    both: { plan: [{ provider: 'one' }, { provider: 'two' }], price },
    sonnet: 'claude',
  },
  token: { models: 'gpt-*,renamed,vendor/*,both,sonnet', name: 'main' },
})
const { gateway, providers, token } = journey
const { one, two, claude } = providers
const auth = bearer(token)
const ask = (body: string | Buffer | object, headers = {}) =>
  post(gateway, CHAT, body, { ...auth, ...headers })
const lastSeen = () => one.requests.at(-1)
t.beforeEach(() => {
  one.answer(chat())
  two.answer(chat())
})

const ODD =
  '\r\n { "unknown_field" : {"b":1,"a":[ ]},\t"temperature":1.0,"seed":9007199254740993,"huge":1e400,"tiny":-0.0e-7,' +
  '"dup":1,"dup":2,"messages":[{"content":"é \\u00e9 👋 \\ud83d\\udc4b \\/ \\" model","role":"user"}],"model":"MODEL",' +
  '"nested":{"model":"gpt-a","stream":true}, "max_tokens":5 }\n'

t.test('a request arrives byte for byte, with the provider’s own name for the model', async (t) => {
  const table = [
    ['gpt-a', 'gpt-a'],
    ['renamed', 'a-much-longer/name:of-the-provider'],
    ['vendor/model:free', 'vendor/model:free'],
  ] as const
  for (const [asked, seen] of table) {
    const reply = await ask(ODD.replace('MODEL', asked))
    t.equal(reply.status, 200)
    t.equal(lastSeen()?.body.toString(), ODD.replace('MODEL', seen))
    t.equal(lastSeen()?.url, '/v1/chat/completions')
    t.equal(lastSeen()?.headers['content-length'], String(Buffer.byteLength(ODD.replace('MODEL', seen))))
  }
})

t.test('bodies of 200 KB and 9.9 MiB arrive whole', async (t) => {
  for (const bytes of [200_000, Math.floor(9.9 * 1024 * 1024)]) {
    const padding = randomBytes(Math.floor((bytes - 200) / 2)).toString('hex')
    const body = `{"messages":[{"role":"user","content":"${padding}"}],"max_tokens":1,"model":"renamed"}`
    t.equal((await post(gateway, CHAT, body, bearer(gateway.masterToken))).status, 200)
    t.ok(
      lastSeen()?.body.equals(Buffer.from(body.replace('"renamed"', '"a-much-longer/name:of-the-provider"'))),
    )
  }
})

t.test('an answer comes back byte for byte', async (t) => {
  const text = `{ "id":"x","n":1.0,"big":9007199254740993,"e":1e400,"u":"é\\u00e9👋","choices":[],"a":1,"a":2,\n"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7} }\n`
  one.answer(json(text, { headers: { 'content-type': 'application/json; charset=utf-8' } }))
  const reply = await ask({ model: 'gpt-a' })
  t.equal(reply.text, text)
  t.equal(reply.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(reply.headers['content-length'], String(Buffer.byteLength(text)))
  t.equal(reply.headers['x-gateway-credits-charged'], '11')
})

t.test('an answer larger than is held back passes as it comes, and is charged by its report', async (t) => {
  const body = chatBody('gpt-a', 'ü'.repeat(400_000), SOME_COUNTS)
  one.answer(json(body))
  const reply = await ask({ model: 'gpt-a' })
  t.same(reply.json(), body)
  t.equal(reply.headers['x-gateway-credits-charged'], undefined, 'unknown before the body')
  const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
  t.match(row, { charged_micros: 26e6, estimated: 0, status: 200 })
})

t.test('a compressed answer passes as it is, and is metered', async (t) => {
  const packed = gzipSync(JSON.stringify(chatBody('gpt-a', 'Hello', SOME_COUNTS)))
  one.answer(raw(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }, packed))
  const reply = await ask({ model: 'gpt-a' })
  t.equal(reply.headers['content-encoding'], 'gzip')
  t.ok(reply.body.equals(packed))
  t.equal(reply.headers['x-gateway-credits-charged'], '26')
  t.equal(lastSeen()?.headers['accept-encoding'], 'identity', 'nobody was asked for it')
})

t.test('a second "model" key never lets a forbidden model through', async (t) => {
  const before = one.requests.length
  for (const body of [
    '{"model":"forbidden","mod\\u0065l":"forbidden","model":"gpt-a"}',
    '{"model":"gpt-a","mod\\u0065l":"forbidden"}',
    '{"model":"gpt-a","Model":"forbidden"}',
  ]) {
    const refused = await ask(body)
    t.match(refused, { status: 400, headers: { 'x-should-retry': 'false' } })
    t.match(refused.json(), {
      error: { code: 'invalid_json', param: 'model', type: String, message: String },
    })
  }
  t.equal(one.requests.length, before)
})

t.test('of a client’s headers a provider sees the allow-list and its own key', async (t) => {
  await ask(
    { model: 'gpt-a' },
    {
      cookie: 'session=1',
      'api-key': token,
      'x-forwarded-for': '203.0.113.9',
      forwarded: 'for=203.0.113.9',
      'x-real-ip': '203.0.113.9',
      'openai-organization': 'org-of-the-client',
      'openai-project': 'proj',
      'user-agent': 'my-secret-app/1',
      origin: 'https://app.example',
      referer: 'https://app.example/page',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'x-request-id': 'mine-1',
      'accept-encoding': 'br',
      'openai-beta': 'assistants=v2',
      accept: 'application/json',
    },
  )
  const { host, ...seen } = lastSeen()?.headers ?? {}
  t.equal(host, new URL(one.origin).host)
  t.same(seen, {
    'accept-encoding': 'identity',
    'user-agent': 'llm-api-gateway',
    'content-type': 'application/json',
    'content-length': '17',
    accept: 'application/json',
    'openai-beta': 'assistants=v2',
    authorization: 'Bearer key-of-one',
  })
})

t.test('of a provider’s headers a client sees the allow-list, beside the gateway’s own', async (t) => {
  const answer = { 'access-control-allow-origin': '*', server: 'x', 'x-internal': 'y', 'openai-model': 'm' }
  one.answer(json(chatBody('m', 'hi', SOME_COUNTS), { headers: answer }))
  const { headers } = await ask({ model: 'renamed' }, { 'x-request-id': 'my-own-id.1' })
  const { date, ...rest } = headers
  t.ok(date)
  t.match(rest, {
    'content-type': 'application/json',
    'openai-processing-ms': '312',
    'openai-version': '2020-10-01',
    'openai-model': 'm',
    'x-request-id': 'my-own-id.1',
    'x-ratelimit-limit-requests': '1000000',
    'x-ratelimit-remaining-requests': /^\d+$/,
    'x-ratelimit-reset-requests': /s$/,
    'x-gateway-provider': 'one',
    'x-gateway-model': 'a-much-longer/name:of-the-provider',
    'x-gateway-attempts': '1',
    'x-gateway-credits-charged': '26',
    'x-gateway-credits-remaining': /^\d+$/,
  })
  for (const name of [
    'set-cookie',
    'server',
    'x-internal',
    'openai-organization',
    'access-control-allow-origin',
  ])
    t.notOk(name in headers, name)
})

t.test('a provider’s refusal of the request itself passes untouched and costs nothing', async (t) => {
  const before = await credits(gateway, token)
  for (const code of [400, 409, 413, 415, 422, 451]) {
    const text = `{ "error":{"message":"no ${code}","odd":1.0} }`
    one.answer(json(text, { status: code }))
    const reply = await ask({ model: 'both' })
    t.match(reply, {
      status: code,
      text,
      headers: { 'x-gateway-credits-charged': '0', 'x-gateway-attempts': '1' },
    })
    t.match(await waitForRow(gateway, String(reply.headers['x-request-id'])), {
      status: code,
      provider: 'one',
      cost_micros: 0,
      charged_micros: 0,
    })
  }
  t.equal(two.requests.length, 0)
  t.same(await credits(gateway, token), before)
})

t.test('a web page with status 200 is no answer: the next provider is asked', async (t) => {
  one.answer(faults.html200())
  const reply = await ask({ model: 'both' })
  t.match(reply.headers, { 'x-gateway-provider': 'two', 'x-gateway-attempts': '2' })
  t.equal(reply.json().object, 'chat.completion')
  const alone = await ask({ model: 'gpt-a' })
  t.match(alone, { status: 502, headers: { 'x-should-retry': 'true' } })
  t.notMatch(alone.text, /doctype/i)
})

t.test('blank lines that keep a slow answer’s connection alive pass at once', async (t) => {
  const slow = controlled({ headers: { 'content-type': 'application/json' } })
  one.answer(slow)
  const body = { method: 'POST', path: CHAT, headers: auth, body: { model: 'gpt-a' } }
  const opening = openStream(gateway, body)
  await slow.write('\n')
  const stream = await opening
  const pieces = stream[Symbol.asyncIterator]()
  t.equal((await pieces.next()).value.bytes.toString(), '\n')
  await slow.write('\n \n')
  t.equal((await pieces.next()).value.bytes.toString(), '\n \n')
  const answer = JSON.stringify(chatBody('gpt-a', 'at last', SOME_COUNTS))
  await slow.write(answer)
  await slow.end()
  t.equal((await pieces.next()).value.bytes.toString(), answer)
  t.ok((await pieces.next()).done)
  t.match(await waitForRow(gateway, String(stream.headers['x-request-id'])), { cost_micros: 26e6 })
})

t.test('Messages go to a provider that speaks them, with its key and version', async (t) => {
  const reply = await send(gateway, {
    method: 'POST',
    path: '/v1/messages',
    headers: { 'x-api-key': token, 'anthropic-version': '2023-06-01', 'anthropic-beta': 'tools' },
    body: { model: 'sonnet', max_tokens: 9, messages: [] },
  })
  t.match(reply, { status: 200, headers: { 'request-id': String, 'x-gateway-provider': 'claude' } })
  t.equal(reply.json().type, 'message')
  t.match(claude.requests.at(-1), {
    url: '/v1/messages',
    headers: { 'x-api-key': 'key-of-claude', 'anthropic-version': '2023-06-01', 'anthropic-beta': 'tools' },
  })
  t.equal(claude.requests.at(-1)?.headers.authorization, undefined)
  claude.queue(status(500))
  const failed = await post(gateway, '/v1/messages', { model: 'sonnet', max_tokens: 9 }, auth)
  t.match(failed, { status: 502 })
  t.match(failed.json(), {
    type: 'error',
    error: { type: 'api_error' },
    request_id: failed.headers['x-request-id'],
  })
  const wrong = await post(gateway, '/v1/messages', { model: 'gpt-a' }, auth)
  t.match(wrong, { status: 404 })
  t.match(wrong.json(), { type: 'error', error: { type: 'not_found_error' } })
})

t.test('the query reaches the provider byte for byte, and no log line', async (t) => {
  const body = { model: 'sonnet', max_tokens: 9, messages: [] }
  const odd = ['?beta=true', '?', '?a=1&a=2&&b', '?q=%2f%2F+%zz&x=a=b?c/../d', '']
  for (const query of odd) {
    t.match(await post(gateway, `/v1/messages${query}`, body, auth), { status: 200 }, query)
    t.equal(claude.requests.at(-1)?.url, `/v1/messages${query}`)
    t.match(await post(gateway, `${CHAT}${query}`, { model: 'gpt-a' }, auth), { status: 200 }, query)
    t.equal(lastSeen()?.url, `${CHAT}${query}`)
  }
  t.match(await post(gateway, `${CHAT}?mark=seen-by-nobody`, { model: 'gpt-a' }, auth), { status: 200 })
  one.queue(status(500))
  const failed = await post(gateway, `${CHAT}?mark=seen-by-nobody`, { model: 'gpt-a' }, auth)
  await gateway.waitForLine((line) => line.requestId === failed.headers['x-request-id'])
  t.notMatch(gateway.stdout(), /seen-by-nobody|beta=true/)
  const asked = one.requests.length
  const refused = await post(gateway, `${CHAT}?beta=true&api_key=${token}`, { model: 'gpt-a' }, auth)
  t.match(refused, { status: 400 })
  t.equal(one.requests.length, asked)
})

t.test('the models list shows what the token may use, also one by one, in both dialects', async (t) => {
  const list = (await get(gateway, '/v1/models', auth)).json()
  t.equal(list.object, 'list')
  t.same(list.data.map((each: { id: string }) => each.id).sort(), [
    'both',
    'gpt-a',
    'renamed',
    'sonnet',
    'vendor/model:free',
  ])
  for (const id of ['vendor/model:free', 'vendor%2Fmodel:free', 'vendor%2Fmodel%3Afree'])
    t.match((await get(gateway, `/v1/models/${id}`, auth)).json(), {
      id: 'vendor/model:free',
      object: 'model',
    })
  for (const id of ['forbidden', 'nobody', '__proto__'])
    t.match(await get(gateway, `/v1/models/${id}`, auth), { status: 404 }, id)
  const anthropic = { 'x-api-key': token, 'anthropic-version': '2023-06-01' }
  t.match((await get(gateway, '/v1/models', anthropic)).json(), {
    data: [{ type: 'model', id: String, display_name: String, created_at: String }],
    has_more: false,
    first_id: String,
    last_id: String,
  })
  t.match((await get(gateway, '/v1/models/sonnet', anthropic)).json(), { type: 'model', id: 'sonnet' })
})

t.test('a token’s owner sees what it is and has, without a provider', async (t) => {
  const asked = one.requests.length
  const reply = await get(gateway, '/v1/token', auth)
  t.match(reply.json(), {
    user: 'testuser',
    type: 'user',
    name: 'main',
    models: ['gpt-*', 'renamed', 'vendor/*', 'both', 'sonnet'],
    expiresAt: null,
    limits: { perMinute: 1_000_000, perDay: null },
  })
  const { credited, balance, held, charged } = reply.json().credits
  t.equal(credited, 1_000_000)
  t.equal(balance + held + charged, credited)
  t.ok(token.startsWith(reply.json().prefix) && reply.json().prefix.length < token.length / 2)
  const chosen = await send(gateway, { path: '/v1/token', headers: bearer(gateway.masterToken) })
  t.match(chosen.json(), { user: 'master', prefix: /^ma$/ }, 'of a secret that may be guessed')
  t.equal(one.requests.length, asked)
})

t.test('every request of these tests left exactly one row', (t) => {
  const ids = readRows(gateway).map((row) => row.request_id)
  t.equal(new Set(ids).size, ids.length)
  t.end()
})
