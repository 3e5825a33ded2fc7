import t, { type Test } from 'tap'
import { chat } from '../support/answers.ts'
import { status } from '../support/behaviour.ts'
import { bearer, get, post, rawRequest, send } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { type FakeProvider, startProvider } from '../support/provider.ts'
import { handshakeText } from '../support/raw-socket.ts'

const CHAT = '/v1/chat/completions'
const ask = { model: 'm', max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] }

const provider = await startProvider(t)
const claude = await startProvider(t)

const openGateway = async (t: typeof import('tap').t | Test, env: Record<string, string> = {}) => {
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, {
      providers: {
        main: provider.url,
        claude: { baseUrl: claude.url, keyEnv: 'CLAUDE_TEST_KEY', dialect: 'anthropic' },
      },
      models: { m: 'main', 'vendor/m': 'main', c: 'claude' },
    }),
    env: {
      ...providerKeys('main', 'claude'),
      RATE_LIMIT_PER_MINUTE: '100000',
      UNAUTHENTICATED_PER_MINUTE: '100000',
      ...env,
    },
  })
  return { gateway, token: await mintToken(t, gateway) }
}
const { gateway, token } = await openGateway(t)
const last = ({ requests }: FakeProvider) => requests.at(-1)

t.test('a base URL with a /v1 too few or too many, a prefix or slashes leads to the endpoint', async (t) => {
  provider.answer(chat({ model: 'm' }))
  for (const [path, upstream] of [
    ['/chat/completions', CHAT],
    ['/v1/v1/chat/completions', CHAT],
    ['/v1/v1/v1/chat/completions', CHAT],
    ['/v1//chat/completions', CHAT],
    ['//v1/chat/completions', CHAT],
    ['//chat/completions', CHAT],
    ['/v1/chat/completions/', CHAT],
    ['/v1/chat/completions?a=b', `${CHAT}?a=b`],
    ['/chat/completions/?a=b//c', `${CHAT}?a=b//c`],
    ['/openai/v1/chat/completions', CHAT],
    ['/openai/chat/completions', CHAT],
    ['/v1/completions/', '/v1/completions'],
    ['/embeddings', '/v1/embeddings'],
    ['/openai/v1//embeddings/', '/v1/embeddings'],
  ] as const) {
    const asked = provider.requests.length
    const reply = await post(gateway, path, ask, bearer(token))
    t.equal(reply.status, 200, `${path}: ${reply.text}`)
    t.equal(provider.requests.length, asked + 1, path)
    t.equal(last(provider)?.url, upstream, path)
    t.equal((await post(gateway, path, ask)).status, 401, `${path} without a token`)
  }
  claude.answer(status(400))
  for (const path of ['/messages', '/v1/v1/messages', '/anthropic/v1/messages', '/v1/messages/']) {
    const reply = await post(gateway, path, { ...ask, model: 'c' }, bearer(token))
    t.equal(reply.status, 400, path)
    t.equal(last(claude)?.url, '/v1/messages', path)
    t.match(
      (await post(gateway, path, ask)).json(),
      { type: 'error', request_id: String },
      `${path} in its dialect`,
    )
  }
})

t.test('the list of models is found wherever a client looks for it', async (t) => {
  const { data } = (await get(gateway, '/v1/models', bearer(token))).json()
  t.equal(data.length, 3)
  for (const path of [
    '/v1/models/',
    '/models',
    '/models/',
    '/openai/v1/models',
    '/v1/v1/models',
    '/v1//models?limit=9',
  ])
    t.same((await get(gateway, path, bearer(token))).json().data, data, path)
  for (const path of ['/models/m', '/v1/models/m/', '/openai/v1/models/vendor/m', '/models/vendor%2Fm'])
    t.match((await get(gateway, path, bearer(token))).json().id, /^(vendor\/)?m$/, path)
  t.equal((await get(gateway, '/models')).status, 401)
})

t.test('an Azure client names its model in the path', async (t) => {
  provider.answer(chat({ model: 'm' }))
  const { model: _, ...nameless } = ask
  const azure = '/openai/deployments/m/chat/completions?api-version=2024-10-21'
  const reply = await post(gateway, azure, nameless, { 'api-key': token })
  t.equal(reply.status, 200, reply.text)
  t.equal(last(provider)?.url, CHAT, "its version of the API is nobody else's")
  t.same(last(provider)?.json(), ask)
  const kept = await post(gateway, `${azure}&a=b`, ask, { 'api-key': token })
  t.equal(kept.status, 200)
  t.match(last(provider), { url: `${CHAT}?a=b`, body: Buffer.from(JSON.stringify(ask)) })
  await post(gateway, azure, { ...nameless, model: null, stream: true }, { 'api-key': token })
  t.match(last(provider)?.json(), { model: 'm', stream: true, stream_options: { include_usage: true } })
  await post(gateway, azure, { messages: [], stream: true }, { 'api-key': token })
  t.match(last(provider)?.json(), { model: 'm', stream: true, stream_options: { include_usage: true } })
  await post(gateway, '/openai/deployments/vendor%2Fm/embeddings', { input: 'x' }, { 'api-key': token })
  t.match(last(provider), { url: '/v1/embeddings' })
  t.equal(last(provider)?.json().model, 'vendor/m')
  const asked = provider.requests.length
  const other = await post(gateway, azure, { ...ask, model: 'vendor/m' }, { 'api-key': token })
  t.match(
    [other.status, other.json().error.param],
    [400, 'model'],
    'the model that is checked is the model that is used',
  )
  const unknown = await post(gateway, azure.replace('/m/', '/x/'), nameless, { 'api-key': token })
  t.match([unknown.status, unknown.json().error.code], [404, 'model_not_found'])
  const narrow = await mintToken(t, gateway, { models: 'vendor/m' })
  t.equal((await post(gateway, azure, nameless, { 'api-key': narrow })).status, 403)
  for (const name of ['%zz', '%00', '..%2f..', 'a%20b'])
    t.equal(
      (await post(gateway, azure.replace('/m/', `/${name}/`), nameless, { 'api-key': token })).status >= 400,
      true,
    )
  t.equal(provider.requests.length, asked, 'nobody was asked')
})

t.test('the model in an Azure path is that of a form, too', async (t) => {
  provider.answer(chat({ model: 'm' }))
  const boundary = 'form-boundary'
  const sendForm = (path: string, fields: Record<string, string>) => {
    const parts = Object.entries({ ...fields, prompt: 'x' }).map(
      ([name, value]) =>
        `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    )
    const headers = { ...bearer(token), 'content-type': `multipart/form-data; boundary=${boundary}` }
    return send(gateway, { method: 'POST', path, headers, body: `${parts.join('')}--${boundary}--\r\n` })
  }
  for (const [path, upstream] of [
    ['/openai/deployments/m/images/edits?api-version=1', '/v1/images/edits'],
    ['/openai/deployments/m/audio/transcriptions', '/v1/audio/transcriptions'],
  ] as const) {
    const named: Record<string, string>[] = [{}, { model: 'm' }]
    for (const fields of named) {
      const reply = await sendForm(path, fields)
      t.equal(reply.status, 200, reply.text)
      t.equal(last(provider)?.url, upstream)
      t.match(last(provider)?.body.toString(), /name="model"\r\n\r\nm\r\n/i)
    }
    const asked = provider.requests.length
    const other = await sendForm(path, { model: 'vendor/m' })
    t.match([other.status, other.json().error.param], [400, 'model'], 'the form names another one')
    const unknown = await sendForm(path.replace('/m/', '/x/'), {})
    t.match([unknown.status, unknown.json().error.code], [404, 'model_not_found'], 'never the usual one')
    const unread = await sendForm(path.replace('/m/', '/%zz/'), {})
    t.match([unread.status, unread.json().error.code], [404, 'model_not_found'], 'a name that cannot be read')
    t.equal(provider.requests.length, asked, 'nobody was asked')
  }
})

t.test('one Idempotency-Key is one model, also where the path names it', async (t) => {
  provider.answer(chat({ model: 'm' }))
  const headers = { 'api-key': token, 'idempotency-key': 'a-key' }
  const of = (model: string) => `/openai/deployments/${model}/chat/completions`
  const first = await post(gateway, of('m'), { messages: [] }, headers)
  const again = await post(gateway, of('m'), { messages: [] }, headers)
  t.match([first.status, again.status, again.headers['idempotent-replayed']], [200, 200, 'true'])
  t.equal((await post(gateway, of('vendor%2Fm'), { messages: [] }, headers)).status, 422)
})

t.test("what leads nowhere is told the address to use, in the client's dialect", async (t) => {
  const asked = provider.requests.length
  for (const [path, text] of [
    ['/v1/v1/files', /one "\/v1" too many.*use \/v1\/files/],
    ['/api/v1/chat/completions', /use \/v1\/chat\/completions/],
    ['/v1/chat/completions/chat/completions', /use \/v1\/chat\/completions/],
    ['/v1/chat/completion', /did you mean "\/v1\/chat\/completions"/],
    ['/nowhere/at/all', /docs\/client-api\.md lists/],
  ] as const) {
    const reply = await post(gateway, path, ask, bearer(token))
    t.match([reply.status, reply.json().error.code], [404, 'not_found'], path)
    t.match(reply.json().error.message, text, path)
    t.equal(reply.headers['x-should-retry'], 'false')
  }
  const wrong = await get(gateway, CHAT, bearer(token))
  t.match([wrong.status, wrong.json().error.message], [404, /with POST, not with GET/])
  const anthropic = await post(gateway, '/api/v1/messages', ask, bearer(token))
  t.match(anthropic.json(), {
    type: 'error',
    error: { type: 'not_found_error', message: /use \/v1\/messages/ },
  })
  const byHeader = await post(gateway, '/v1/complete', ask, {
    ...bearer(token),
    'anthropic-version': '2023-06-01',
  })
  t.match(byHeader.json(), { type: 'error', error: { type: 'not_found_error' } })
  t.equal(provider.requests.length, asked, 'nobody was asked')
})

t.test('no habit leads past a guard, nor into what an operator handed on', async (t) => {
  const { gateway, token } = await openGateway(t, {
    PASSTHROUGH_PATHS: `/v1/files,/openai=${provider.origin}/other!insecure`,
    RATE_LIMIT_PER_MINUTE: '1000',
  })
  provider.answer(chat({ model: 'm' }))
  const own = await post(gateway, '/openai/v1/chat/completions', ask, bearer(token))
  t.equal(own.status, 200)
  t.equal(last(provider)?.url, '/other/v1/chat/completions', "an operator's path stays an operator's")
  const asked = provider.requests.length
  for (const path of [
    '/files',
    '//v1/files',
    '/v1//files',
    '/v1/v1/files',
    '/v1/%66iles/../chat/completions',
    '/v1%2Fchat/completions',
    '/v1/chat%2Fcompletions',
    '/v1/./chat/completions',
    '/v1/chat/completions/..',
    '/chat/completions%00',
    '/chat\\completions',
    '/METRICS',
    '//metrics',
    '/v1/metrics',
  ]) {
    const reply = await send(gateway, { method: 'POST', path, body: ask, headers: bearer(token) })
    t.ok([400, 404].includes(reply.status), `${path}: ${reply.status}`)
  }
  t.equal(provider.requests.length, asked, 'nobody was asked')
  t.equal((await post(gateway, '/chat/completions?token=x', ask)).json().error.code, 'credential_in_url')
  for (const path of ['//metrics', '/metrics/', '/v1/v1/metrics'])
    t.equal((await get(gateway, path, bearer(token))).status, 404, path)
})

t.test('a WebSocket is found like any other endpoint, behind the same guards', async (t) => {
  for (const path of ['/realtime?model=m', '/v1/v1/realtime?model=m', '/openai/v1/realtime/?model=m']) {
    const answer = await rawRequest(gateway.port, handshakeText({ path }))
    t.match(answer, /^HTTP\/1\.1 401 /, path)
  }
  t.match(await rawRequest(gateway.port, handshakeText({ path: '/chat/completions' })), /^HTTP\/1\.1 426 /)
})

t.test('a model whose provider lacks one endpoint is told so', async (t) => {
  provider.answer(status(404))
  const reply = await post(gateway, '/v1/rerank', { model: 'm', query: 'x', documents: ['y'] }, bearer(token))
  t.match([reply.status, reply.json().error.code], [404, 'model_not_found'])
  t.match(reply.json().error.message, /No provider of "m" has it at \/v1\/rerank/)
  provider.answer(chat({ model: 'm' }))
  t.equal((await post(gateway, CHAT, ask, bearer(token))).status, 200, 'other endpoints are not concerned')
})

t.test('whoever looks whether anybody is there is told so without a token', async (t) => {
  for (const path of ['/', '/api/hello']) {
    const reply = await send(gateway, { method: 'HEAD', path })
    t.match([reply.status, reply.text], [200, ''], path)
    t.ok(reply.headers['x-request-id'])
  }
  t.equal((await get(gateway, '/')).status, 404)
  const { gateway: other, token } = await openGateway(t, {
    PASSTHROUGH_PATHS: `/api=${provider.origin}/api!insecure`,
  })
  t.equal(
    (await send(other, { method: 'HEAD', path: '/api/hello' })).status,
    401,
    "an operator's own /api is his",
  )
  await send(other, { method: 'HEAD', path: '/api/hello', headers: bearer(token) })
  t.equal(last(provider)?.url, '/api/hello')
})

t.test("Google's header is a credential like Anthropic's, and no provider sees it", async (t) => {
  const reply = await post(gateway, CHAT, ask, { 'x-goog-api-key': token })
  t.equal(reply.status, 200)
  t.equal(last(provider)?.headers['x-goog-api-key'], undefined)
  const both = await post(gateway, CHAT, ask, { 'x-api-key': 'wrong', 'x-goog-api-key': token })
  t.equal(both.status, 401, 'the first one counts')
})

t.test('a 401 says what is odd about the credential, and never repeats it', async (t) => {
  for (const [headers, text] of [
    [{ authorization: `Bearer Bearer ${token}` }, /says "Bearer" twice/],
    [{ authorization: `bearer: Bearer ${token}` }, /says "Bearer" twice/],
    [{ authorization: 'Bearer ' }, /Nothing follows "Bearer"/],
    [{ authorization: `Bearer "${token}"` }, /without quotes/],
    [{ authorization: token }, /does not begin with "Bearer "/],
    [{ 'x-api-key': `Bearer ${token}` }, /"x-api-key" takes the token alone/],
    [{ 'x-goog-api-key': `Bearer ${token}` }, /"x-goog-api-key" takes the token alone/],
  ] as const) {
    const reply = await post(gateway, CHAT, ask, headers)
    t.match([reply.status, reply.json().error.code], [401, 'invalid_api_key'])
    t.match(reply.json().error.message, text)
    t.notMatch(reply.text, token)
  }
})

t.test('counting tokens does not use up the requests of a minute', async (t) => {
  claude.answer(status(400))
  provider.answer(status(400))
  const slow = await mintToken(t, gateway, { perMinute: 2 })
  for (const [path, model] of [
    ['/v1/messages/count_tokens', 'c'],
    ['/v1/responses/input_tokens', 'm'],
  ] as const) {
    const count = () => post(gateway, path, { model, messages: [], input: 'x' }, { 'x-api-key': slow })
    const all = await Promise.all(Array.from({ length: 25 }, count))
    t.strictSame(
      new Set(all.map((reply) => reply.status)),
      new Set([400]),
      `${path}: each reached the provider`,
    )
  }
  provider.answer(chat({ model: 'm' }))
  const asks = [await post(gateway, CHAT, ask, bearer(slow)), await post(gateway, CHAT, ask, bearer(slow))]
  t.strictSame(
    asks.map((reply) => reply.status),
    [200, 200],
  )
  t.equal((await post(gateway, CHAT, ask, bearer(slow))).status, 429, 'asking does')
})

t.test('an output limit of 0 or -1 passes as it came', async (t) => {
  for (const limit of [0, -1]) {
    const reply = await post(gateway, CHAT, { ...ask, max_tokens: limit }, bearer(token))
    t.equal(reply.status, 200, reply.text)
    t.equal(last(provider)?.json().max_tokens, limit)
  }
})

t.test(
  'providers see of a client what the operator forwards, and nothing of it unless he does',
  async (t) => {
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const headers = { traceparent: trace, 'user-agent': 'codex/1', tracestate: 'a=b' }
    await post(gateway, CHAT, ask, { ...bearer(token), ...headers })
    t.match(last(provider)?.headers, {
      'user-agent': 'llm-api-gateway',
      traceparent: undefined,
      tracestate: undefined,
    })
    const forwarding = await openGateway(t, {
      FORWARD_HEADERS: 'traceparent, User-Agent',
      PASSTHROUGH_PATHS: '/v1/files',
    })
    for (const path of [CHAT, '/v1/files']) {
      await post(forwarding.gateway, path, ask, { ...bearer(forwarding.token), ...headers })
      t.match(
        last(provider)?.headers,
        { 'user-agent': 'codex/1', traceparent: trace, tracestate: undefined },
        path,
      )
    }
  },
)
