import t from 'tap'
import { chatStream } from '../support/answers.ts'
import { json } from '../support/behaviour.ts'
import { bearer, credits, post } from '../support/client.ts'
import { formBody, formType } from '../support/form.ts'
import { startJourney, waitForRow } from '../support/journey.ts'

const plan = [{ provider: 'one' }]
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one'],
  models: {
    m: { plan },
    'omni-moderation-latest': { plan: [{ provider: 'one', model: 'own-moderation' }], price: { input: 1 } },
    'dall-e-2': { plan, price: { perImage: 400 } },
    'gpt-image-1.5': { plan, price: { perImage: 700 } },
  },
})
const { one } = providers
const auth = bearer(token)
const images = json({ created: 1, data: [{ b64_json: 'AAAA' }] })

t.test('moderations and images need no model: OpenAI’s usual one is asked for and paid', async (t) => {
  one.queue(json({ id: 'x', results: [] }), images)
  const moderation = await post(gateway, '/v1/moderations', { input: 'hello' }, auth)
  t.equal(moderation.status, 200)
  t.equal(one.requests.at(-1)?.body.toString(), '{"model":"own-moderation","input":"hello"}')
  const row = await waitForRow(gateway, String(moderation.headers['x-request-id']))
  t.match(row, { model: 'omni-moderation-latest', model_used: 'own-moderation' })
  const picture = await post(gateway, '/v1/images/generations', { prompt: 'a cat' }, auth)
  t.equal(picture.status, 200)
  t.equal(one.requests.at(-1)?.json().model, 'dall-e-2')
  const paid = await waitForRow(gateway, String(picture.headers['x-request-id']))
  t.match(paid, { model: 'dall-e-2', images: 1, cost_micros: 400e6 })
})

t.test('a form without a model gets a part that names it, in memory and from the disk', async (t) => {
  for (const [path, bytes, model, micros] of [
    ['/v1/images/edits', 1_000, 'gpt-image-1.5', 700e6],
    ['/v1/images/variations', 3 * 1024 * 1024, 'dall-e-2', 400e6],
  ] as const) {
    one.queue(images)
    const file = Buffer.alloc(bytes, 'p')
    const body = formBody([
      ['image', 'a.png', file],
      ['n', '1'],
    ])
    const reply = await post(gateway, path, body, { ...auth, ...formType() })
    t.equal(reply.status, 200, `${path}: ${reply.text.slice(0, 200)}`)
    const seen = one.requests.at(-1)
    const form = await new Response(new Uint8Array(seen?.body ?? []), {
      headers: { 'content-type': String(seen?.headers['content-type']) },
    }).formData()
    t.equal(form.get('model'), model)
    t.equal(form.get('n'), '1')
    const image = form.get('image')
    t.ok(image instanceof File && image.size === bytes)
    t.equal(Number(seen?.headers['content-length']), seen?.body.length)
    t.match(await waitForRow(gateway, String(reply.headers['x-request-id'])), { model, cost_micros: micros })
  }
})

t.test('where the usual model is not served, a request must name one', async (t) => {
  const { gateway, providers, token } = await startJourney(t, { providers: ['two'], models: { m: 'two' } })
  const form = formBody([['image', 'a.png', Buffer.alloc(10)]])
  for (const reply of [
    await post(gateway, '/v1/moderations', { input: 'hello' }, bearer(token)),
    await post(gateway, '/v1/images/variations', form, { ...bearer(token), ...formType() }),
  ]) {
    t.equal(reply.status, 400)
    t.match(reply.json(), { error: { code: 'missing_model', param: 'model' } })
  }
  t.equal(providers.two.requests.length, 0)
})

t.test('the input of a response is counted for nothing', async (t) => {
  const before = await credits(gateway, token)
  one.queue(json({ object: 'response.input_tokens', input_tokens: 11 }))
  const reply = await post(gateway, '/v1/responses/input_tokens', { model: 'm', input: 'hello' }, auth)
  t.same(reply.json(), { object: 'response.input_tokens', input_tokens: 11 })
  t.equal(one.requests.at(-1)?.url, '/v1/responses/input_tokens')
  t.match(await waitForRow(gateway, String(reply.headers['x-request-id'])), {
    cost_micros: 0,
    input_tokens: 0,
  })
  t.equal((await credits(gateway, token)).charged, before.charged)
})

t.test('a client that asks for usage in OpenRouter’s words gets the usage chunk', async (t) => {
  const counts = { input: 10, output: 20 }
  one.answer(chatStream({ counts }))
  const ask = (more: object) =>
    post(gateway, '/v1/chat/completions', { model: 'm', stream: true, messages: [], ...more }, auth)
  const hidden = await ask({})
  t.notMatch(hidden.text, /"completion_tokens":20/)
  const shown = await ask({ usage: { include: true } })
  t.match(shown.text, /"completion_tokens":20/)
  t.match(one.requests.at(-1)?.json(), { usage: { include: true }, stream_options: { include_usage: true } })
})
