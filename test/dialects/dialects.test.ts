import t from 'tap'
import { PAID_ENDPOINTS } from '../../src/config/endpoints.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { DIALECTS, ENDPOINTS } from '../../src/dialects/endpoints.ts'
import { dialectOfHeaders, dialectOfUrl } from '../../src/dialects/headers.ts'
import { insufficientQuota } from '../../src/errors.ts'

t.test('every wire format stands under its own name, and all of them know the same things', (t) => {
  const all = Object.entries(DIALECTS)
  for (const [name, dialect] of all) {
    t.equal(dialect.name, name)
    // In one order too: so all of them have one hidden class on the hot path.
    t.same(Object.keys(dialect), Object.keys(DIALECTS['openai-chat']), name)
  }
  t.same(
    ENDPOINTS.map(({ path, dialect }) => [path, dialect.name]),
    PAID_ENDPOINTS.map(({ path, dialect }) => [path, dialect]),
  )
  t.end()
})

t.test('no endpoint that is paid for can be handed out unpaid', (t) => {
  for (const { path } of PAID_ENDPOINTS)
    t.throws(() => readSettings({ PASSTHROUGH_PATHS: `/v1${path}=https://api.example.com` }), path)
  t.end()
})

t.test('a client is told of errors in what it speaks', (t) => {
  const error = insufficientQuota('spent')
  for (const [url, body] of [
    ['/v1/messages', { type: 'error', error: { type: 'billing_error', message: 'spent' }, request_id: 'r' }],
    ['/v1/messages/batches', { type: 'error' }],
    ['/v1/messages?beta=true', { type: 'error' }],
    ['/v1/messages-of-mine', { error: { code: 'insufficient_quota' } }],
    ['/v1/responses', { error: { code: 'insufficient_quota', message: 'spent' } }],
  ] as const)
    t.match(JSON.parse(dialectOfUrl(url).errorBody(error, 'r')), body, url)
  t.equal(dialectOfHeaders({ 'anthropic-version': '2023-06-01' }).requestIdHeader, 'request-id')
  t.equal(dialectOfHeaders({}).requestIdHeader, undefined)
  const eventOf = (name: keyof typeof DIALECTS) => DIALECTS[name].errorEvent(error, 'r')
  t.match(eventOf('openai-chat'), /^data: {"error":{.*}}\n\n$/)
  t.match(
    eventOf('openai-responses'),
    /^event: error\ndata: {"type":"error","code":"insufficient_quota",.*}\n\n$/,
  )
  t.match(eventOf('anthropic-messages'), /^event: error\ndata: {"type":"error","error":{.*}\n\n$/)
  t.end()
})
