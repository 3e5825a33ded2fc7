import t from 'tap'
import { foldName } from '../../src/request/guarded-fields.ts'
import { chat } from '../support/answers.ts'
import { bearer, credits, post } from '../support/client.ts'
import { formBody, formType } from '../support/form.ts'
import { mintToken } from '../support/gateway.ts'
import { codeOf } from '../support/hostile.ts'
import { startJourney } from '../support/journey.ts'

const CHAT = '/v1/chat/completions'
const plan = [{ provider: 'go' }]
const { gateway, providers, token } = await startJourney(t, {
  providers: ['go'],
  models: {
    cheap: { plan, price: { input: 1, output: 1 } },
    expensive: { plan, price: { input: 50, output: 50 } },
    'whisper-1': { plan, price: { perSecond: 1 } },
    best: { plan: [{ provider: 'go', model: 'up-dear' }], price: { input: 50, output: 50 } },
    '*': { plan },
  },
})
const limited = await mintToken(t, gateway, { models: 'cheap' })
providers.go.answer(chat())

/** Which models some lenient reader would find in what has reached the provider. */
const modelsSeen = (): Set<unknown> => {
  const seen = new Set<unknown>()
  for (const { body, url } of providers.go.requests) {
    for (const name of new URL(url ?? '/', 'http://a').searchParams.getAll('model')) seen.add(name)
    const text = body.toString()
    if (!text.startsWith('{')) continue
    for (const [, key = '', value] of text.matchAll(/"((?:[^"\\]|\\.)*)"\s*:\s*"([^"]*)"/g))
      if (foldName(JSON.parse(`"${key}"`)) === 'model') seen.add(value)
  }
  return seen
}

const M = '"messages":[]'
const DEAR = '"expensive"'

t.test(
  'a token limited to one model gets no other from a provider that reads as Go and Java do',
  async (t) => {
    const before = await credits(gateway, limited)
    const keys = [
      'Model',
      'MODEL',
      '\\u004dodel',
      'mod\\u0045l',
      'model',
      'mo_del',
      'model\\u0000',
      '\\ud800model',
    ]
    const bodies = keys.flatMap((key) => [
      `{"model":"cheap","${key}":${DEAR},${M}}`,
      `{"${key}":${DEAR},"model":"cheap",${M}}`,
    ])
    bodies.push(`{"model":"cheap","max_tokens":1,"max_to\u212aens":5000,${M}}`)
    bodies.push(`{"model":"cheap","\u017ftream":true,"stream":false,${M}}`)
    bodies.push(`{"model":"cheap","n":1,"N":100,${M}}`)
    for (const path of [
      CHAT,
      '/v1/responses',
      '/v1/messages',
      '/v1/messages/count_tokens',
      '/v1/embeddings',
    ]) {
      for (const body of bodies) {
        const reply = await post(gateway, path, body, bearer(limited))
        t.equal(reply.status, 400, `${path} ${encodeURI(body)}`)
        if (!path.startsWith('/v1/messages')) t.equal(codeOf(reply.text), 'invalid_json')
      }
    }
    t.equal(providers.go.requests.length, 0, 'no provider was asked')
    t.same(await credits(gateway, limited), before)
  },
)

t.test('a body whose letters depend on a charset is refused', async (t) => {
  const body = `{"model":"cheap","+AG0-odel":${DEAR},${M}}`
  const types = [
    'application/json; charset=utf-7',
    'application/json;charset="utf-7"',
    'application/json; Charset=UTF-16',
    'application/json; charset=utf-8; charset=utf-7',
    'application/json; x="; charset=utf-7"',
    "application/json; charset*=utf-8''utf-7",
    'application/json; charset =utf-7',
    'application/json; charset=iso-8859-1',
    'application/json, text/plain; charset=utf-7',
  ]
  for (const type of types) {
    const reply = await post(gateway, CHAT, body, { ...bearer(limited), 'content-type': type })
    t.ok(reply.status === 400 || reply.status === 415, `${type}: ${reply.status}`)
  }
  for (const encoding of ['utf16le', 'latin1'] as const) {
    const bytes = Buffer.from(`{"model":"cheap","é":1,${M}}`, encoding)
    const reply = await post(gateway, CHAT, bytes, bearer(limited))
    t.match([reply.status, codeOf(reply.text)], [400, 'invalid_json'], encoding)
  }
  t.equal(providers.go.requests.length, 0)
  for (const type of [
    'application/json;charset=UTF-8',
    'application/json; charset="utf8"',
    'application/json; v=1;',
  ])
    t.equal(
      (await post(gateway, CHAT, `{"model":"cheap",${M}}`, { ...bearer(limited), 'content-type': type }))
        .status,
      200,
      type,
    )
})

t.test('what another router would follow is refused, in the body and in the query', async (t) => {
  const asked = providers.go.requests.length
  for (const field of [
    `"models":[${DEAR}]`,
    '"route":"fallback"',
    '"provider":{"order":["x"]}',
    '"preset":"x"',
  ]) {
    const reply = await post(gateway, CHAT, `{"model":"cheap",${field},${M}}`, bearer(token))
    t.match([reply.status, codeOf(reply.text)], [400, 'invalid_request'], field)
  }
  for (const query of [
    'model=expensive',
    'Model=expensive',
    'a=1&mod%65l=expensive',
    'model[]=expensive',
    'n=100',
  ]) {
    const reply = await post(gateway, `${CHAT}?${query}`, `{"model":"cheap",${M}}`, bearer(limited))
    t.match([reply.status, codeOf(reply.text)], [400, 'invalid_request'], query)
  }
  const tools = [{ type: 'image_generation', model: 'expensive' }]
  const reply = await post(gateway, '/v1/responses', { model: 'cheap', input: 'a', tools }, bearer(limited))
  t.match([reply.status, codeOf(reply.text)], [403, 'model_not_allowed'])
  t.equal(providers.go.requests.length, asked)
  t.equal(
    (await post(gateway, `${CHAT}?api-version=1`, `{"model":"cheap",${M}}`, bearer(limited))).status,
    200,
  )
})

t.test('no spelling of a listed model is had at the wildcard’s price', async (t) => {
  const asked = providers.go.requests.length
  const table: [string, number][] = [
    ['EXPENSIVE', 404],
    ['Expensive', 404],
    ['expensive:nitro', 404],
    ['expensive:free:online', 404],
    ['expensive@preset/x', 404],
    ['\uff45xpensive', 404],
    ['expen sive', 404],
    ['up-dear', 404],
    ['UP-DEAR', 404],
    ['expensive:latest', 404],
    ['models/expensive', 404],
    ['expensive ', 400],
    [' expensive', 400],
    ['expensive\u00a0', 400],
    ['expensive\u200b', 400],
    ['expensive\ufe0f', 400],
    ['expensive\n', 400],
    ['e\u0301xpensive', 400],
  ]
  for (const [model, status] of table) {
    const reply = await post(gateway, CHAT, { model, messages: [] }, bearer(token))
    t.equal(reply.status, status, encodeURI(model))
  }
  t.equal(providers.go.requests.length, asked)
  t.equal((await post(gateway, CHAT, { model: 'another', messages: [] }, bearer(token))).status, 200)
})

t.test('a form has one model, whatever its parts call themselves', async (t) => {
  const asked = providers.go.requests.length
  const file: [string, string, Buffer] = ['file', 'a.mp3', Buffer.alloc(1000)]
  for (const name of ['model', 'Model', 'MODEL', 'model[]', 'mo%64el', 'mode\u217c', 'models', 'provider']) {
    const body = formBody([['model', 'whisper-1'], [name, 'expensive'], file])
    const reply = await post(gateway, '/v1/audio/transcriptions', body, { ...bearer(token), ...formType() })
    t.equal(reply.status, 400, encodeURI(name))
  }
  const type = { 'content-type': `${formType()['content-type']}; charset=utf-7` }
  const body = formBody([['model', 'whisper-1'], file])
  const reply = await post(gateway, '/v1/audio/transcriptions', body, { ...bearer(token), ...type })
  t.equal(reply.status, 400)
  t.equal(providers.go.requests.length, asked)
})

t.test('all that a lenient reader found were models that were checked', async (t) => {
  t.same(modelsSeen(), new Set(['cheap', 'another']))
})
