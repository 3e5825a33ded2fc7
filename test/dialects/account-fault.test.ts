import t from 'tap'
import { readAccountFault } from '../../src/dialects/account-fault.ts'

const openai = (message: string, more = {}) => ({
  error: { message, type: 'invalid_request_error', param: null, code: null, ...more },
})
const anthropic = (message: string, type = 'invalid_request_error') => ({
  type: 'error',
  error: { type, message },
  request_id: 'req_1',
})
const gemini = {
  error: {
    code: 400,
    message: 'API key not valid. Please pass a valid API key.',
    status: 'INVALID_ARGUMENT',
    details: [
      {
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
        reason: 'API_KEY_INVALID',
        domain: 'googleapis.com',
      },
    ],
  },
}
const xai = {
  code: 'Client specified an invalid argument',
  error: 'Incorrect API key provided: xa***AB. You can obtain an API key from https://console.x.ai.',
}
const LOW =
  'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.'

t.test("a provider's faults of our own account are known, however it tells them", async (t) => {
  for (const [body, status] of [
    [anthropic(LOW), 402],
    [
      anthropic('You have reached your specified API usage limits. You will regain access on 2026-12-01.'),
      402,
    ],
    [anthropic('You have reached your specified workspace API usage limits.'), 402],
    [anthropic('This organization has been disabled.'), 401],
    [anthropic('invalid x-api-key', 'authentication_error'), 401],
    [gemini, 401],
    [[gemini], 401],
    [[{ error: { code: 400, message: 'User location is not supported for the API use.' } }], 401],
    [{ error: { message: JSON.stringify(gemini), code: 400, status: 'Bad Request' } }, 401],
    [xai, 401],
    [openai('Incorrect API key provided: sk-abc***wxyz.', { code: 'invalid_api_key' }), 401],
    [openai('You exceeded your current quota, please check your plan and billing details.'), 402],
    [openai('x', { type: 'insufficient_quota' }), 402],
    [openai('Billing hard limit has been reached', { code: 'billing_hard_limit_reached' }), 402],
    [openai('Insufficient Balance', { type: 'unknown_error' }), 402],
    [openai('Your account is not active, please check your billing details on our website.'), 401],
    [openai('Access denied, please make sure your account is in good standing.', { code: 'Arrearage' }), 402],
    [
      {
        code: 'Some requested entity',
        error: 'Your team 1a2b has either used all available credits or reached its limit.',
      },
      402,
    ],
    [
      openai('Provider returned error', { code: 400, metadata: { raw: JSON.stringify(anthropic(LOW)) } }),
      402,
    ],
  ] as const)
    t.equal(readAccountFault(Buffer.from(JSON.stringify(body))), status, JSON.stringify(body))
})

t.test("a client's own fault is none of ours, whatever of its words a provider repeats", async (t) => {
  for (const body of [
    anthropic('max_tokens: 300000 > 128000, which is the maximum allowed'),
    anthropic(`messages.0.content: ${LOW}`),
    openai(`Invalid value: 'Incorrect API key provided'. Supported values are: 'a'.`),
    openai(`Unknown parameter: 'API key not valid'.`, { param: 'API key not valid' }),
    openai('This model does not exist', { code: 'model_not_found' }),
    openai('The context is too long', { code: 'context_length_exceeded' }),
    openai('odd', { code: 'constructor', type: '__proto__' }),
    { error: 'The prompt is too long' },
    { error: { message: { toString: 'x' } } },
    { message: 'Your credit is fine' },
    [],
    [1],
    'text',
    null,
  ])
    t.equal(readAccountFault(Buffer.from(JSON.stringify(body))), undefined, JSON.stringify(body))
  t.equal(readAccountFault(Buffer.from('')), undefined)
  t.equal(readAccountFault(Buffer.from('<html>')), undefined)
  t.equal(
    readAccountFault(Buffer.from(JSON.stringify({ ...openai(LOW), pad: 'x'.repeat(70_000) }))),
    undefined,
  )
})
