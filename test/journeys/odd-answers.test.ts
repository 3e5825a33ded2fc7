import t from 'tap'
import { chatStream } from '../support/answers.ts'
import { json, raw } from '../support/behaviour.ts'
import { bearer, openStream, post, send } from '../support/client.ts'
import { audio, formBody, formType } from '../support/form.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { chatBody, chatEvents, SOME_COUNTS } from '../support/openai-wire.ts'

const CHAT = '/v1/chat/completions'
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  models: {
    pictures: { plan: [{ provider: 'one' }, { provider: 'two' }], price: { perImage: 100 } },
    '*': ['one', 'two'],
  },
})
const { one, two } = providers
const auth = bearer(token)
let names = 0
/** Rests are kept by provider and model: a name of its own for each keeps them apart. */
const fresh = () => `model-${names++}`
const hello = { messages: [{ role: 'user', content: 'hello' }] }
const MARK = '\ufeff'
const JSON_TYPE = { 'content-type': 'application/json' }

t.test('a list without what was asked for is no answer, and costs nothing', async (t) => {
  const image = { created: 1, data: [{ url: 'https://example.com/a.png' }] }
  const vector = { object: 'list', data: [{ index: 0, embedding: [1] }], usage: { prompt_tokens: 3 } }
  const verdict = { id: 'modr-1', model: 'm', results: [{ flagged: false }] }
  const kinds: [string, object, object, object[]][] = [
    ['/v1/images/generations', { model: 'pictures', prompt: 'x' }, image, [{ created: 1, data: null }]],
    ['/v1/images/generations', { model: 'pictures', prompt: 'x' }, image, [{ created: 1, data: [] }]],
    ['/v1/embeddings', { input: 'x' }, vector, [{ object: 'list', data: null, usage: null }]],
    [
      '/v1/embeddings',
      { input: 'x' },
      vector,
      [{ object: 'list', data: [] }, [{ error: { code: 429 } }] as object],
    ],
    ['/v1/moderations', { input: 'x' }, verdict, [{ id: 'modr-1', results: null }]],
  ]
  for (const [path, body, good, failures] of kinds)
    for (const failure of failures) {
      one.queue(json(failure))
      two.queue(json(good))
      const reply = await post(gateway, path, { model: fresh(), ...body }, auth)
      t.match(reply, { status: 200, headers: { 'x-gateway-provider': 'two' } }, JSON.stringify(failure))
      one.queue(json(good))
      const alone = await post(gateway, path, { model: fresh(), ...body }, auth)
      t.match(alone.headers, { 'x-gateway-provider': 'one' }, JSON.stringify(good))
    }
})

t.test('a ranking that found nothing is an answer', async (t) => {
  one.queue(json({ id: 'r', results: [], meta: { billed_units: { search_units: 1 } } }))
  const reply = await post(gateway, '/v1/rerank', { model: fresh(), query: 'x', documents: ['y'] }, auth)
  t.match(reply.headers, { 'x-gateway-provider': 'one' })
})

t.test('an error without anything in it is none', async (t) => {
  const error = { message: null, type: null, code: null }
  one.queue(json({ ...chatBody('m', 'Hello!', SOME_COUNTS), error }))
  const reply = await post(gateway, CHAT, { model: fresh(), ...hello }, auth)
  t.match(reply.headers, { 'x-gateway-provider': 'one', 'x-gateway-credits-charged': '19' })
})

t.test('the mark of UTF-8 may stand before an answer', async (t) => {
  for (const usage of [SOME_COUNTS, undefined]) {
    one.queue(raw(200, JSON_TYPE, MARK + JSON.stringify(chatBody('m', 'Hello!', usage))))
    const reply = await post(gateway, CHAT, { model: fresh(), ...hello }, auth)
    t.match(reply.headers, { 'x-gateway-provider': 'one' })
    t.equal(reply.text.slice(0, 2), `${MARK}{`)
    if (usage) t.equal(reply.headers['x-gateway-credits-charged'], '19')
  }
})

t.test('blanks and a mark before events under another media type make no document of them', async (t) => {
  const shape = { model: 'm', usage: SOME_COUNTS, usageNull: false, done: true } as const
  const events = chatEvents({ ...shape, words: ['so'], usageAt: 'in-finish' }).join('')
  two.answer(chatStream())
  for (const before of ['\n', '\r\n\r\n', MARK, '']) {
    one.queue(raw(200, JSON_TYPE, before + events))
    const sent = { path: CHAT, headers: auth, body: { model: fresh(), stream: true, ...hello } }
    const opened = await openStream(gateway, sent)
    t.match(opened.headers, { 'x-gateway-provider': 'one', 'content-type': /event-stream/ })
    await opened.rest()
    const row = await waitForRow(gateway, String(opened.headers['x-request-id']))
    t.match(row, { charged_micros: 19e6, estimated: 0, attempts: 1 })
  }
  for (const before of ['\n', MARK]) {
    one.queue(raw(200, JSON_TYPE, before + JSON.stringify(chatBody('m', 'Hello!', SOME_COUNTS))))
    const sent = { path: CHAT, headers: auth, body: { model: fresh(), stream: true, ...hello } }
    const opened = await openStream(gateway, sent)
    t.match(opened.headers, { 'x-gateway-provider': 'one', 'content-type': /json/ })
    await opened.rest()
  }
})

t.test('of a silent recording an empty line is an answer', async (t) => {
  for (const type of ['text/plain; charset=utf-8', 'application/x-subrip']) {
    one.queue(raw(200, { 'content-type': type }, '\n'))
    two.queue(raw(200, { 'content-type': type }, '\n'))
    const body = formBody([['model', fresh()], ['response_format', 'text'], audio()])
    const sent = {
      method: 'POST',
      path: '/v1/audio/transcriptions',
      headers: { ...auth, ...formType() },
      body,
    }
    const reply = await send(gateway, sent)
    t.match(reply, { status: 200, text: '\n', headers: { 'x-gateway-provider': 'one' } }, type)
    t.match(reply.headers, { 'x-gateway-attempts': '1', 'content-length': '1' })
  }
})
