import OpenAI, { toFile } from 'openai'
import t from 'tap'
import { status } from '../support/behaviour.ts'
import { refusal, startForClients } from '../support/clients.ts'
import { mintToken } from '../support/gateway.ts'
import { readRows } from '../support/journey.ts'

const { gateway, own, token, baseURL } = await startForClients(t)
const openai = new OpenAI({ apiKey: token, baseURL, maxRetries: 0 })
const HELLO = [{ role: 'user' as const, content: 'hello' }]

t.test('the openai client chats, plain and streamed', async (test) => {
  const { data, response, request_id } = await openai.chat.completions
    .create({ model: 'gpt-4o', messages: HELLO })
    .withResponse()
  test.equal(data.choices[0]?.message.content, 'Hi thére 👋!')
  test.ok((data.usage?.total_tokens ?? 0) > 0)
  test.match([request_id, response.headers.get('x-gateway-provider')], [/^\S{8,}$/, 'mock'])
  const read = async (include_usage?: boolean) => {
    const options = include_usage === undefined ? {} : { stream_options: { include_usage } }
    const stream = await openai.chat.completions.create({
      model: 'gpt-4o',
      messages: HELLO,
      stream: true,
      ...options,
    })
    let [text, usages] = ['', 0]
    for await (const { choices, usage } of stream) {
      text += choices[0]?.delta.content ?? ''
      usages += usage ? 1 : 0
    }
    return { text, usages }
  }
  test.same(await read(), { text: 'Hi thére 👋!', usages: 0 }, 'no usage chunk for a client that did not ask')
  test.same(await read(false), { text: 'Hi thére 👋!', usages: 0 })
  test.same(await read(true), { text: 'Hi thére 👋!', usages: 1 })
  const rows = readRows(gateway).slice(-4)
  test.ok(rows.every((row) => Number(row.input_tokens) > 0 && row.estimated === 0))
})

t.test('the openai client reads the Responses API, plain and streamed', async (test) => {
  const whole = await openai.responses.create({ model: 'gpt-4o', input: 'hello' })
  test.equal(whole.output_text, 'Hi thére 👋!')
  const stream = await openai.responses.create({ model: 'gpt-4o', input: 'hello', stream: true })
  let text = ''
  let last = ''
  for await (const event of stream) {
    if (event.type === 'response.output_text.delta') text += event.delta
    last = event.type
  }
  test.same([text, last], ['Hi thére 👋!', 'response.completed'])
})

t.test('the openai client embeds, draws, speaks, listens and moderates', async (test) => {
  const embedded = await openai.embeddings.create({ model: 'text-embedding-3-small', input: 'hello' })
  test.same(embedded.data[0]?.embedding, [0.25, -0.5, 1])
  const image = await openai.images.generate({ model: 'gpt-image-1', prompt: 'a cat', n: 1 })
  test.equal(image.data?.[0]?.b64_json, 'iVBORw0KGgo=')
  const edited = await openai.images
    .edit({ model: 'gpt-image-1', prompt: 'a cat', image: await toFile(Buffer.from('png'), 'a.png') })
    .withResponse()
  test.equal(edited.response.headers.get('x-gateway-credits-charged'), '4000')
  const speech = await openai.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'hello' })
  test.equal(Buffer.from(await speech.arrayBuffer()).toString(), 'not really mp3')
  const file = await toFile(Buffer.alloc(200_000, 'a'), 'größe.mp3')
  const heard = await openai.audio.transcriptions.create({ file, model: 'whisper-1' })
  test.equal(heard.text, 'what was said')
  const moderated = await openai.moderations.create({ model: 'omni-moderation-latest', input: 'hello' })
  test.equal(moderated.results[0]?.flagged, false)
})

t.test('the openai client lists the models that its token may use', async (test) => {
  const names = (await openai.models.list()).data.map(({ id }) => id)
  test.match(names.toSorted(), ['claude-opus-4-5', 'demo', 'gpt-4o'])
  test.match(await openai.models.retrieve('vendor/large'), { id: 'vendor/large', object: 'model' })
  const limited = await mintToken(t, gateway, { user: 'limited', models: 'gpt-*,demo' })
  const few = new OpenAI({ apiKey: limited, baseURL, maxRetries: 0 })
  const allowed = (await few.models.list()).data.map(({ id }) => id)
  test.same(allowed.toSorted(), ['demo', 'gpt-4o', 'gpt-image-1'])
  test.match(await refusal(few.models.retrieve('vendor/large')), { status: 404, code: 'model_not_found' })
  test.match(await refusal(few.chat.completions.create({ model: 'shaky', messages: HELLO })), {
    status: 403,
    code: 'model_not_allowed',
  })
})

t.test('the openai client sees refusals as its own errors, and retries only what passes', async (test) => {
  const ask = (client: OpenAI, model = 'shaky') => client.chat.completions.create({ model, messages: HELLO })
  const stranger = new OpenAI({ apiKey: 'gw-unknown', baseURL })
  test.match(await refusal(ask(stranger)), {
    kind: 'AuthenticationError',
    status: 401,
    code: 'invalid_api_key',
    requestID: /^\S{8,}$/,
  })
  test.match(await refusal(ask(openai, 'gpt-none')), {
    kind: 'NotFoundError',
    status: 404,
    code: 'model_not_found',
    param: 'model',
  })
  const calls = own.requests.length
  let sent = 0
  const counting: typeof fetch = (...request) => {
    sent += 1
    return fetch(...request)
  }
  const purse = await mintToken(t, gateway, { user: 'poor', credits: 0 })
  test.match(await refusal(ask(new OpenAI({ apiKey: purse, baseURL, maxRetries: 5, fetch: counting }))), {
    kind: 'RateLimitError',
    code: 'insufficient_quota',
    type: 'insufficient_quota',
  })
  test.equal(sent, 1, 'an empty balance is no reason to try again')
  test.equal(own.requests.length, calls, 'no provider was asked')
  const hasty = await mintToken(t, gateway, { user: 'hasty', perMinute: 1 })
  const eager = new OpenAI({ apiKey: hasty, baseURL, maxRetries: 0 })
  await ask(eager)
  const refused = await ask(eager).catch((error: unknown) => error)
  if (!(refused instanceof OpenAI.RateLimitError)) throw refused
  test.equal(refused.code, 'rate_limit_exceeded')
  const told = ['x-should-retry', 'retry-after', 'retry-after-ms'].map((name) => refused.headers.get(name))
  test.match(told, ['true', /^\d+$/, /^\d+$/])
  own.queue(status(503))
  const patient = new OpenAI({ apiKey: token, baseURL, maxRetries: 1 })
  test.equal((await ask(patient)).choices[0]?.message.content, 'Hello!')
})
