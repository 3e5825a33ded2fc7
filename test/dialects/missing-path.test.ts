import t from 'tap'
import { isPathMissing } from '../../src/dialects/missing-path.ts'

const JSON_TYPE = 'application/json'
const NGINX =
  '<html>\r\n<head><title>404 Not Found</title></head>\r\n<body><center><h1>404 Not Found</h1></center></body></html>'
const said = (text: string, more: object = {}) => ({
  error: { message: text, type: 'invalid_request_error', ...more },
})

const PATHS: readonly (readonly [string, string, string | object])[] = [
  ['nginx', 'text/html', NGINX],
  ['nginx without a type', '', NGINX],
  ['Express', 'text/html; charset=utf-8', '<!DOCTYPE html><pre>Cannot POST /chat/completions</pre>'],
  ['Google', 'text/html; charset=UTF-8', '<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>'],
  ['FastAPI: vLLM, SGLang, LiteLLM', JSON_TYPE, { detail: 'Not Found' }],
  ['Django REST', JSON_TYPE, { detail: 'Not found.' }],
  ['Go: Ollama, Traefik', 'text/plain', '404 page not found\n'],
  ['Koa', 'text/plain; charset=utf-8', 'Not Found'],
  ['Fastify', JSON_TYPE, { message: 'Route POST:/v2/x not found', error: 'Not Found', statusCode: 404 }],
  ['NestJS', JSON_TYPE, { message: 'Cannot POST /x', error: 'Not Found', statusCode: 404 }],
  ['Spring', JSON_TYPE, { timestamp: '2026-01-01', status: 404, error: 'Not Found', path: '/x' }],
  ['Spring 2', JSON_TYPE, { status: 404, error: 'Not Found', message: 'No message available', path: '/x' }],
  ['Spring 6', JSON_TYPE, { status: 404, error: 'Not Found', message: 'No static resource v2/chat.' }],
  ['OpenAI', JSON_TYPE, said('Invalid URL (POST /chat/completions)', { param: null, code: null })],
  ['Groq', JSON_TYPE, said('Unknown request URL: POST /openai/x. Please check', { code: 'unknown_url' })],
  ['Anthropic', JSON_TYPE, { type: 'error', error: { type: 'not_found_error', message: 'Not Found' } }],
  ['Azure', JSON_TYPE, { error: { code: '404', message: 'Resource not found' } }],
  ['Google, JSON', JSON_TYPE, { error: { code: 404, message: 'Method not found.', status: 'NOT_FOUND' } }],
  [
    'Google, a list',
    JSON_TYPE,
    [{ error: { code: 404, message: 'Method not found.', status: 'NOT_FOUND' } }],
  ],
  ['Kong', JSON_TYPE, { message: 'no Route matched with those values', request_id: 'a' }],
  ['API Gateway', JSON_TYPE, { message: 'Not Found' }],
  ['Cloudflare', JSON_TYPE, { success: false, errors: [{ code: 7000, message: 'No route for that URI' }] }],
  ['llama.cpp', JSON_TYPE, { error: { code: 404, message: 'File Not Found', type: 'not_found_error' } }],
  ['LM Studio', JSON_TYPE, { error: 'Unexpected endpoint or method. (POST /x)' }],
  ['axum, Envoy, Caddy', '', ''],
]

const MODELS: readonly (readonly [string, object | string])[] = [
  [
    'OpenAI',
    said('The model `x` does not exist or you do not have access to it.', { code: 'model_not_found' }),
  ],
  ['OpenAI, in odd words', said('Not Found', { code: 'model_not_found' })],
  ['Anthropic', { type: 'error', error: { type: 'not_found_error', message: 'model: claude-x' } }],
  ['vLLM', { object: 'error', message: 'The model `x` does not exist.', type: 'NotFoundError', code: 404 }],
  ['vLLM, new', { error: { message: 'The model `x` does not exist.', type: 'NotFoundError', code: 404 } }],
  ['Ollama', { error: 'model "x" not found, try pulling it first' }],
  ['LiteLLM', said('litellm.NotFoundError: OpenAIException - The model `x` does not exist', { code: '404' })],
  ['OpenRouter', { error: { message: 'No endpoints found for x.', code: 404 } }],
  ['xAI', { code: 'Some requested entity was not found', error: 'The model x does not exist or your team' }],
  ['Azure', { error: { code: 'DeploymentNotFound', message: 'The API deployment for this resource' } }],
  [
    'Google',
    { error: { code: 404, message: 'models/x is not found for API version v1beta', status: 'NOT_FOUND' } },
  ],
  ['Google, a list', [{ error: { code: 404, message: 'models/x is not found for API version v1beta' } }]],
  ['Google, an entity', { error: { code: 404, message: 'Requested entity was not found.' } }],
  ['a plain text', 'The model x was not found'],
  ['what nobody knows', { odd: true }],
  ['a model of that name', said('not found/nowhere is no model')],
]

t.test('a 404 of a path is told from a 404 of a model', (test) => {
  for (const [name, type, body] of PATHS)
    test.ok(isPathMissing(type, bytesOf(body)), `${name}: nothing is there`)
  for (const [name, body] of MODELS)
    test.notOk(
      isPathMissing(typeof body === 'string' ? 'text/plain' : JSON_TYPE, bytesOf(body)),
      `${name}: a model`,
    )
  test.notOk(isPathMissing(JSON_TYPE, Buffer.from(`"${'a'.repeat(70_000)}"`)), 'too long to be read')
  test.end()
})

function bytesOf(body: string | object): Buffer {
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
}
