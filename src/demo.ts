import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Provider } from './config/catalog/catalog.ts'
import { isRecord } from './json.ts'
import { createServer } from './node-http.ts'

/** The offline provider: a real HTTP server on loopback that answers with what it was asked. */
export interface DemoProvider {
  provider: Provider
  close(): Promise<void>
}

/** Opens the echo provider on a free loopback port; asked like any other provider. */
export async function openDemoProvider(): Promise<DemoProvider> {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  server.unref()
  const { port } = server.address() as AddressInfo
  return {
    provider: {
      name: 'demo',
      origin: `http://127.0.0.1:${port}`,
      basePath: '/v1',
      key: undefined,
      dialects: ['openai', 'anthropic'],
      usageOption: true,
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface DemoRequest {
  model?: unknown
  stream?: unknown
  stream_options?: { include_usage?: unknown }
  messages?: unknown
  input?: unknown
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const asked = await readJson(request)
  if (!asked)
    return reply(response, 400, {
      error: { message: 'The body is not JSON', type: 'invalid_request_error', param: null, code: null },
    })
  const text = lastText(asked)
  const [path] = (request.url ?? '').split('?', 1)
  if (path === '/v1/chat/completions')
    return asked.stream === true ? streamChat(response, asked, text) : reply(response, 200, chat(asked, text))
  if (path === '/v1/messages')
    return asked.stream === true
      ? streamMessage(response, asked, text)
      : reply(response, 200, message(asked, text))
  if (path === '/v1/messages/count_tokens')
    return reply(response, 200, { input_tokens: usage(asked, text).prompt_tokens })
  const message404 = 'The demo provider answers /v1/chat/completions and /v1/messages'
  reply(response, 404, {
    error: { message: message404, type: 'invalid_request_error', param: null, code: 'not_found' },
  })
}

async function readJson(request: IncomingMessage): Promise<DemoRequest | undefined> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    return undefined
  }
}

/** The text of the last message, whether a string or parts. */
function lastText({ messages }: DemoRequest): string {
  const last: unknown = Array.isArray(messages) ? messages.at(-1) : undefined
  const content = isRecord(last) ? last.content : undefined
  if (typeof content === 'string') return content
  const parts: unknown[] = Array.isArray(content) ? content : []
  return parts.map((part) => (isRecord(part) && typeof part.text === 'string' ? part.text : '')).join('')
}

function words(text: string): string[] {
  return text.match(/\s*\S+|\s+$/g) ?? []
}

function usage(asked: DemoRequest, text: string) {
  const input = words(JSON.stringify(asked.messages ?? '')).length
  const output = Math.max(1, words(text).length)
  return { prompt_tokens: input, completion_tokens: output, total_tokens: input + output }
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body))
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length })
  response.end(bytes)
}

function envelope(asked: DemoRequest, object: string) {
  return {
    id: 'chatcmpl-demo',
    object,
    created: Math.floor(Date.now() / 1000),
    model: String(asked.model),
  }
}

function chat(asked: DemoRequest, text: string) {
  return {
    ...envelope(asked, 'chat.completion'),
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    usage: usage(asked, text),
  }
}

function streamChat(response: ServerResponse, asked: DemoRequest, text: string): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  const send = (body: unknown): void => {
    response.write(`data: ${JSON.stringify(body)}\n\n`)
  }
  const chunk = (delta: unknown, finish: string | null) => ({
    ...envelope(asked, 'chat.completion.chunk'),
    choices: [{ index: 0, delta, finish_reason: finish }],
  })
  send(chunk({ role: 'assistant', content: '' }, null))
  for (const word of words(text)) send(chunk({ content: word }, null))
  send(chunk({}, 'stop'))
  if (asked.stream_options?.include_usage === true) {
    send({ ...envelope(asked, 'chat.completion.chunk'), choices: [], usage: usage(asked, text) })
  }
  response.end('data: [DONE]\n\n')
}

function message(asked: DemoRequest, text: string) {
  const { prompt_tokens, completion_tokens } = usage(asked, text)
  return {
    id: 'msg_demo',
    type: 'message',
    role: 'assistant',
    model: String(asked.model),
    content: [{ type: 'text', text }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: { input_tokens: prompt_tokens, output_tokens: completion_tokens },
  }
}

function streamMessage(response: ServerResponse, asked: DemoRequest, text: string): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  const send = (type: string, body: object): void => {
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...body })}\n\n`)
  }
  const whole = message(asked, text)
  send('message_start', {
    message: { ...whole, content: [], stop_reason: null, usage: { ...whole.usage, output_tokens: 1 } },
  })
  send('content_block_start', { index: 0, content_block: { type: 'text', text: '' } })
  for (const word of words(text))
    send('content_block_delta', { index: 0, delta: { type: 'text_delta', text: word } })
  send('content_block_stop', { index: 0 })
  send('message_delta', {
    delta: { stop_reason: 'end_turn', stop_sequence: null },
    usage: { output_tokens: whole.usage.output_tokens },
  })
  send('message_stop', {})
  response.end()
}
