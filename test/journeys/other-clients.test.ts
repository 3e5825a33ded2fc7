import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, streamText } from 'ai'
import OpenAI from 'openai'
import t from 'tap'
import { json, status } from '../support/behaviour.ts'
import { get } from '../support/client.ts'
import { refusal, startForClients } from '../support/clients.ts'

const { gateway, own, token, baseURL } = await startForClients(t)
const openai = new OpenAI({ apiKey: token, baseURL, maxRetries: 0 })
const anthropic = new Anthropic({ apiKey: token, baseURL: gateway.url, maxRetries: 0 })
const HELLO = [{ role: 'user' as const, content: 'hello' }]

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

t.test('a token is taken from wherever a client puts it', async (test) => {
  const places = [{ authorization: `bearer ${token}` }, { 'x-api-key': token }, { 'api-key': token }]
  for (const headers of places) test.match(await get(gateway, '/v1/models', headers), { status: 200 })
  test.match(await get(gateway, `/v1/models?key=${token}`), { status: 400, text: /credential_in_url/ })
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
