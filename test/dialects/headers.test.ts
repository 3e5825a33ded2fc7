import t from 'tap'
import { anthropicMessages } from '../../src/dialects/anthropic-messages.ts'
import { copyDownward, createUpstreamHeaders } from '../../src/dialects/headers.ts'
import { openaiChat } from '../../src/dialects/openai-chat.ts'

const pairs = (flat: string[]): Record<string, string | undefined> =>
  Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1]]] : [])))

const upstreamHeaders = createUpstreamHeaders([])

const client = {
  authorization: 'Bearer of-the-client',
  'x-api-key': 'of-the-client',
  'api-key': 'of-the-client',
  cookie: 'session=1',
  host: 'gateway.example',
  'x-forwarded-for': '203.0.113.9',
  'x-real-ip': '203.0.113.9',
  forwarded: 'for=203.0.113.9',
  'openai-organization': 'org-of-the-client',
  'openai-project': 'p',
  'user-agent': 'curl/8',
  'accept-encoding': 'gzip, br',
  'x-stainless-os': 'Linux',
  traceparent: '00-1-2-01',
  'content-type': 'application/json',
  accept: 'text/event-stream',
  'openai-beta': 'assistants=v2',
  'anthropic-beta': 'tools-2026',
  'anthropic-version': '2024-01-01',
}

t.test('a provider sees the listed headers of a client, its own key, and nothing else', (t) => {
  t.same(pairs(upstreamHeaders(client, { key: 'own-key' }, openaiChat)), {
    'accept-encoding': 'identity',
    'user-agent': 'llm-api-gateway',
    'content-type': 'application/json',
    accept: 'text/event-stream',
    'openai-beta': 'assistants=v2',
    'anthropic-beta': 'tools-2026',
    authorization: 'Bearer own-key',
  })
  t.end()
})

t.test('what the operator forwards is seen besides, as the client wrote it', (t) => {
  const forwarding = createUpstreamHeaders(['traceparent', 'user-agent'])
  const seen = { traceparent: '00-1-2-01', 'user-agent': 'curl/8', authorization: 'Bearer own-key' }
  t.match(pairs(forwarding(client, { key: 'own-key' }, openaiChat)), seen)
  t.match(pairs(forwarding({}, { key: 'k' }, openaiChat)), { 'user-agent': 'llm-api-gateway' })
  t.notOk('traceparent' in pairs(forwarding({}, { key: 'k' }, openaiChat)))
  t.end()
})

t.test('an Anthropic provider gets its key and version as it wants them', (t) => {
  t.match(pairs(upstreamHeaders(client, { key: 'own-key' }, anthropicMessages)), {
    'x-api-key': 'own-key',
    'anthropic-version': '2024-01-01',
    authorization: undefined,
  })
  t.match(pairs(upstreamHeaders({}, { key: 'k' }, anthropicMessages)), { 'anthropic-version': /^20\d\d-/ })
  t.end()
})

t.test('a provider without a key gets none', (t) => {
  const sent = pairs(upstreamHeaders(client, { key: undefined }, openaiChat))
  t.notOk('authorization' in sent || 'x-api-key' in sent)
  t.end()
})

t.test('of a provider’s headers a client sees the listed ones alone, and its own stay', (t) => {
  const target = { 'x-request-id': 'req_1' }
  const answer = {
    'content-type': 'application/json; charset=utf-8',
    'content-encoding': 'gzip',
    'openai-processing-ms': '3',
    'openai-organization': 'org-of-the-operator',
    'set-cookie': ['a=1'],
    'x-request-id': 'req_of_the_provider',
    'x-ratelimit-remaining-requests': '9',
    'access-control-allow-origin': '*',
    server: 'cloudflare',
    'content-length': '12',
    'transfer-encoding': 'chunked',
  }
  copyDownward(answer, target)
  t.same(target, {
    'x-request-id': 'req_1',
    'content-type': 'application/json; charset=utf-8',
    'content-encoding': 'gzip',
    'openai-processing-ms': '3',
  })
  t.end()
})
