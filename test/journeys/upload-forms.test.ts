import { createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { json } from '../support/behaviour.ts'
import { bearer, post } from '../support/client.ts'
import { audio, BOUNDARY, type FormPart, formBody, formType, hashOf, listening } from '../support/form.ts'
import { startJourney, waitForRow } from '../support/journey.ts'

const MIB = 1024 * 1024
const PATH = '/v1/audio/transcriptions'

const { gateway, providers, token } = await startJourney(t, {
  providers: ['main'],
  models: {
    plain: { plan: [{ provider: 'main' }] },
    '*': { plan: [{ provider: 'main' }] },
    image: { plan: [{ provider: 'main' }], price: { perImage: 10 } },
  },
  servers: { main: { keepBodies: false } },
})
const { main } = providers
const auth = { ...bearer(token), ...formType() }

t.test('forms pass byte for byte, however they are written', async (test) => {
  const inner = Buffer.from(`\r\n --${BOUNDARY}longer\r\n\r\nname="model"\r\n--\0\xff`, 'latin1')
  const forms: readonly [string, readonly FormPart[]][] = [
    ['an empty file', [['model', 'plain'], audio('empty.wav', Buffer.alloc(0))]],
    ['a name in other letters', [['model', 'plain'], audio('Größe-名前 👋.mp3')]],
    ['a file that holds the boundary in part', [audio('b.bin', inner), ['model', 'plain']]],
    ['a field of 64 KiB', [['prompt', 'p'.repeat(65_536)], audio(), ['model', 'plain']]],
    ['a model alone', [['model', 'plain']]],
  ]
  for (const [what, form] of forms) {
    const seen = listening()
    main.queue(seen.behaviour)
    const { status: got } = await post(gateway, PATH, formBody(form), auth)
    test.same([got, await seen.hash], [200, hashOf(form)], what)
  }
  const boundaries = ['"a b:c=d"', '"x"; charset=utf-8', '***', "----WebKitFormBoundary0'()+_,-./:=?"]
  for (const written of boundaries) {
    const boundary = /^"([^"]*)"/.exec(written)?.[1] ?? written
    const type = `multipart/form-data; boundary=${written.includes(',') ? `"${written}"` : written}`
    const seen = listening()
    main.queue(seen.behaviour)
    const body = formBody([audio('a', Buffer.from('a')), ['model', 'plain']], boundary)
    test.match(await post(gateway, PATH, body, { ...auth, 'content-type': type }), { status: 200 }, written)
    test.equal(await seen.hash, createHash('sha256').update(body).digest('hex'), written)
  }
})

const field = (headers: string, value = 'plain'): string => `--${BOUNDARY}\r\n${headers}\r\n\r\n${value}\r\n`
const MODEL = field('content-disposition: form-data; name="model"', 'plain')
const END = `--${BOUNDARY}--\r\n`

const REFUSED: readonly (readonly [what: string, body: string, code: string, headers?: object])[] = [
  ['no boundary', MODEL + END, 'invalid_request', { 'content-type': 'multipart/form-data' }],
  ['two', MODEL + END, 'invalid_request', { 'content-type': `${auth['content-type']}; boundary=other` }],
  [
    'a boundary that goes on',
    `${MODEL}${field('content-disposition: form-data; name="a"', `\r\n--${BOUNDARY}x`)}${END}`,
    'invalid_request',
  ],
  ['a preamble of other line ends', `${MODEL.replaceAll('\r\n', '\n')}\r\n${MODEL}${END}`, 'invalid_request'],
  ['a second form behind the first', `${MODEL}${END}${MODEL}${END}`, 'invalid_request'],
  ['no model', field('content-disposition: form-data; name="prompt"') + END, 'missing_model'],
  ['an empty model', field('content-disposition: form-data; name="model"', '') + END, 'missing_model'],
  [
    'a model of two lines',
    field('content-disposition: form-data; name="model"', 'a\r\nb') + END,
    'invalid_request',
  ],
  ['two models', MODEL + MODEL + END, 'invalid_request'],
  [
    'a model as a file',
    MODEL + field('content-disposition: form-data; name="model"; filename=a') + END,
    'invalid_request',
  ],
  [
    'a name in another header',
    field('x: ; name="model"\r\ncontent-disposition: form-data; name="a"') + END,
    'missing_model',
  ],
  [
    'two dispositions',
    field('content-disposition: form-data; name="model"\r\ncontent-disposition: form-data; name="a"') + END,
    'invalid_request',
  ],
  [
    'a name in a parameter',
    field('content-disposition: form-data; a="; name=model"; name="b"') + END,
    'invalid_request',
  ],
  ['a folded header', field('content-disposition: form-data;\r\n name="model"') + END, 'invalid_request'],
  ['an escaped name', field('content-disposition: form-data; name="mod\\el"') + END, 'invalid_request'],
  ['a nameless part', field('content-type: text/plain') + END, 'invalid_request'],
  ['a form that is not closed', MODEL, 'invalid_request'],
  ['nothing at all', '', 'invalid_request'],
  ['a boundary with a blank behind it', `${MODEL}--${BOUNDARY} \r\n${END}`, 'invalid_request'],
  [
    'a field of more than 1 MiB',
    field('content-disposition: form-data; name="p"', 'p'.repeat(1024 * 1024 + 1)) + MODEL + END,
    'invalid_request',
  ],
  [
    'headers of 9 kB',
    field(`content-disposition: form-data; name="${'n'.repeat(9_000)}"`) + MODEL + END,
    'invalid_request',
  ],
  [
    '101 parts',
    field('content-disposition: form-data; name="p"').repeat(101) + MODEL + END,
    'invalid_request',
  ],
]

t.test('a form that could be read in two ways is refused before a provider is asked', async (test) => {
  const calls = main.requests.length
  for (const [what, body, code, headers] of REFUSED) {
    const answer = await post(gateway, PATH, body, { ...auth, ...headers })
    test.match(answer, { status: 400 }, what)
    test.match(answer.json(), { error: { code: new RegExp(code) } }, what)
  }
  const other = await post(gateway, PATH, '{"model":"pair"}', bearer(token))
  test.match([other.status, other.json().error.code], [415, 'unsupported_media_type'])
  const wrong = await post(gateway, '/v1/chat/completions', MODEL + END, auth)
  test.match([wrong.status, wrong.json().error.code], [415, 'unsupported_media_type'])
  test.match(await post(gateway, PATH, 'a', { ...bearer(token), 'content-type': 'text/plain' }), {
    status: 415,
  })
  test.equal(main.requests.length, calls)
})

t.test('a second model behind the file never reaches a provider as a whole', async (test) => {
  const seen = listening()
  main.queue(seen.behaviour)
  const aborted = main.requests.filter((request) => request.aborted).length
  const file = audio('a.mp3', randomBytes(4 * MIB))
  const answer = await post(
    gateway,
    PATH,
    formBody([['model', 'plain'], file, ['model', 'gpt-forbidden']]),
    auth,
  )
  test.match([answer.status, answer.json().error.param], [400, 'model'])
  test.notOk((await main.waitForAbort(aborted + 1)).complete)
  main.queue(seen.behaviour)
  const images = formBody([
    ['model', 'image'],
    ['image', 'a.png', randomBytes(2 * MIB)],
    ['n', '7'],
  ])
  const reply = await post(gateway, '/v1/images/edits', images, auth)
  test.equal(reply.status, 200, reply.text)
  test.equal((await waitForRow(gateway, String(reply.headers['x-request-id']))).images, 7)
})

t.test('a model may be named in any script, in forms and in JSON', async (test) => {
  for (const model of ['模型-β', 'gpt-é', '名 前']) {
    main.queue(listening().behaviour, json({ choices: [{}] }))
    const form = await post(gateway, PATH, formBody([['model', model], audio()]), auth)
    const body = { model, messages: [] }
    const chat = await post(gateway, '/v1/chat/completions', body, bearer(token))
    const expected = { status: 200, headers: { 'x-gateway-model': encodeURI(model) } }
    test.match([form, chat], [expected, expected], model)
  }
})
