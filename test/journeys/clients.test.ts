import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { LLMock } from '@copilotkit/aimock'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, streamText } from 'ai'
import OpenAI, { toFile } from 'openai'
import t from 'tap'
import { json, status } from '../support/behaviour.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { readRows } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'

// A mock of the providers that no one here wrote.
const mock = new LLMock({ port: 0, host: '127.0.0.1', strict: true })
mock.onMessage('hello', { content: 'Hi thére 👋!' })
mock.onEmbedding('hello', { embedding: [0.25, -0.5, 1] })
mock.onImage('a cat', { image: { b64Json: 'iVBORw0KGgo=' } })
mock.onSpeech('hello', { audio: Buffer.from('not really mp3').toString('base64'), format: 'mp3' })
mock.onTranscription({ transcription: { text: 'what was said' } })
mock.onModerate('hello', { flagged: false, categories: { violence: false } })
await mock.start()
t.teardown(() => mock.stop())
const own = await startProvider(t)

const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, {
    providers: {
      mock: `${mock.url}/v1`,
      claude: { baseUrl: `${mock.url}/v1`, keyEnv: 'CLAUDE_TEST_KEY', dialect: 'anthropic' },
      own: own.url,
      own_claude: { baseUrl: own.url, keyEnv: 'OWN_CLAUDE_TEST_KEY', dialect: 'anthropic' },
    },
    models: {
      'gpt-4o': 'mock',
      'claude-opus-4-5': 'claude',
      'vendor/large': 'mock',
      'text-embedding-3-small': 'mock',
      'gpt-image-1': { plan: [{ provider: 'mock' }], price: { perImage: 4000 } },
      'tts-1': { plan: [{ provider: 'mock' }], price: { perCharacter: 0.5 } },
      'whisper-1': { plan: [{ provider: 'mock' }], price: { perSecond: 15 } },
      'omni-moderation-latest': 'mock',
      shaky: 'own',
      'shaky-claude': 'own_claude',
    },
  }),
  env: {
    ...providerKeys('mock', 'claude', 'own', 'own_claude'),
    DEMO_PROVIDER: 'on',
    RATE_LIMIT_PER_MINUTE: '10000',
  },
})
const token = await mintToken(t, gateway)
const baseURL = `${gateway.url}/v1`
const openai = new OpenAI({ apiKey: token, baseURL, maxRetries: 0 })
const anthropic = new Anthropic({ apiKey: token, baseURL: gateway.url, maxRetries: 0 })
const HELLO = [{ role: 'user' as const, content: 'hello' }]

/** What a client throws, with the name of its class. */
const refusal = async (asking: Promise<unknown>) => {
  const error = await asking.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Error)) throw new Error('it was not refused')
  return { ...error, kind: error.constructor.name, message: error.message }
}

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

t.test('the anthropic client writes messages, plain and streamed', async (test) => {
  const ask = { model: 'claude-opus-4-5', max_tokens: 100, messages: HELLO }
  const whole = await anthropic.messages.create(ask)
  test.match(whole.content, [{ type: 'text', text: 'Hi thére 👋!' }])
  const stream = anthropic.messages.stream(ask)
  let text = ''
  stream.on('text', (piece) => {
    text += piece
  })
  test.match(await stream.finalMessage(), { stop_reason: 'end_turn', usage: { output_tokens: Number } })
  test.equal(text, 'Hi thére 👋!')
  own.queue(json({ input_tokens: 17 }))
  const counted = await anthropic.messages.countTokens({ model: 'shaky-claude', messages: HELLO })
  test.equal(counted.input_tokens, 17)
  const seen = own.requests.at(-1)?.headers
  test.match(seen, { 'x-api-key': 'key-of-own_claude', 'anthropic-version': /^20\d\d-\d\d-\d\d$/ })
  test.equal(seen?.authorization, undefined)
})

t.test('the anthropic client sees refusals in its own shape', async (test) => {
  const ask = (client: Anthropic, model: string) =>
    client.messages.create({ model, max_tokens: 10, messages: HELLO })
  test.match(
    await refusal(ask(new Anthropic({ apiKey: 'gw-unknown', baseURL: gateway.url }), 'claude-opus-4-5')),
    {
      kind: 'AuthenticationError',
      status: 401,
      error: { type: 'error', error: { type: 'authentication_error' }, request_id: /^\S{8,}$/ },
      requestID: /^\S{8,}$/,
    },
  )
  test.match(await refusal(ask(anthropic, 'claude-none')), {
    kind: 'NotFoundError',
    error: { error: { type: 'not_found_error' } },
  })
  test.match(await refusal(ask(anthropic, 'gpt-4o')), { status: 404, message: /Messages API/ })
  test.match(await refusal(openai.chat.completions.create({ model: 'claude-opus-4-5', messages: HELLO })), {
    status: 404,
  })
  own.queue(status(500))
  test.match(await refusal(ask(anthropic, 'shaky-claude')), {
    status: 502,
    error: { error: { type: 'api_error' } },
  })
  const bearer = new Anthropic({ apiKey: null, authToken: token, baseURL: gateway.url, maxRetries: 0 })
  test.equal((await ask(bearer, 'claude-opus-4-5')).type, 'message')
})

t.test('the anthropic client lists and finds models', async (test) => {
  const models = await anthropic.models.list()
  test.match(models.data[0], { type: 'model', id: 'demo', display_name: 'demo' })
  test.equal((await anthropic.models.retrieve('claude-opus-4-5')).id, 'claude-opus-4-5')
})

t.test('the AI SDK generates and streams text', async (test) => {
  const provider = createOpenAICompatible({ name: 'gateway', apiKey: token, baseURL })
  const model = provider('gpt-4o')
  const whole = await generateText({ model, prompt: 'hello', maxRetries: 0 })
  test.equal(whole.text, 'Hi thére 👋!')
  test.ok((whole.usage.totalTokens ?? 0) > 0)
  const streamed = streamText({ model, prompt: 'hello', maxRetries: 0 })
  test.equal(await streamed.text, 'Hi thére 👋!')
})

t.test('LangChain invokes and streams', async (test) => {
  const chat = new ChatOpenAI({ model: 'gpt-4o', apiKey: token, configuration: { baseURL }, maxRetries: 0 })
  const answer = await chat.invoke('hello')
  test.equal(answer.content, 'Hi thére 👋!')
  test.ok((answer.usage_metadata?.total_tokens ?? 0) > 0)
  let text = ''
  for await (const chunk of await chat.stream('hello')) text += chunk.text
  test.equal(text, 'Hi thére 👋!')
})

t.test('the demo model answers both clients without a provider', async (test) => {
  const chat = { model: 'demo', messages: HELLO }
  const whole = await openai.chat.completions.create(chat)
  test.match(whole, { choices: [{ message: { content: 'hello' }, finish_reason: 'stop' }] })
  test.ok((whole.usage?.total_tokens ?? 0) > 0)
  const streamed = openai.chat.completions.stream({ ...chat, stream_options: { include_usage: true } })
  test.equal(await streamed.finalContent(), 'hello')
  test.ok(((await streamed.totalUsage()).total_tokens ?? 0) > 0)
  const ask = { model: 'demo', max_tokens: 10, messages: HELLO }
  test.match((await anthropic.messages.create(ask)).content, [{ text: 'hello' }])
  test.equal(await anthropic.messages.stream(ask).finalText(), 'hello')
  const { input_tokens } = await anthropic.messages.countTokens({ model: 'demo', messages: HELLO })
  test.ok(input_tokens > 0)
})
