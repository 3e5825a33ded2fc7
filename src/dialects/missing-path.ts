import { isRecord, parseJson } from '../json.ts'
import { isBlankByte } from './verdict.ts'

/** Codes by which providers say that it is the model (or what a client named) that they do not have. */
const MODEL_CODES = new Set(['model_not_found', 'DeploymentNotFound', 'invalid_model', 'no_such_model'])
const PATH_CODES = new Set(['unknown_url', 'route_not_found', 'endpoint_not_found', 'path_not_found'])

/**
 * How a server says that nothing is at this path: OpenAI, Groq, Anthropic, Azure, Google; nginx, Express, Fastify, NestJS,
 * FastAPI (vLLM, SGLang, LiteLLM), Go (Ollama), Spring, Kong, API Gateway, llama.cpp, LM Studio, Cloudflare. A text that
 * goes on with the name of a model is none of these.
 */
const PATH_TEXT =
  /^(?:(?:404:? ?)?(?:page |file |path |route |resource |endpoint |url )?not found[.!]?$|invalid url\b|un(?:known|recognized) request url\b|cannot (?:post|get) \/|route (?:post|get)[: ]|no route\b|method not found\.?$|unexpected endpoint or method\b|the requested (?:url|path|resource|endpoint) .{0,200}\bnot found\b|no (?:handler|static resource|endpoint) found for (?:post|get)\b|no static resource\b|unknown (?:path|route|endpoint)\b)/i

const SAYS_NOTHING = /^(?:No message available)?$/

/** Errors are no longer than that; a page that is may come from anywhere. */
const MOST_BYTES = 64 * 1024
const LOOKED_AT = 300
const LESS_THAN = 0x3c

/** Whether a 404 says that nothing is at the path that was asked: the address is wrong, and not the model's name. */
export function isPathMissing(contentType: string, body: Buffer): boolean {
  if (/^text\/html/i.test(contentType)) return true
  if (body.length > MOST_BYTES) return false
  let at = 0
  while (isBlankByte(body[at])) at++
  // An API tells in words what it lacks: routers and servers alone say nothing.
  if (at === body.length || body[at] === LESS_THAN) return true
  const text = body.toString()
  const answer = parseJson(text)
  if (answer === undefined) return PATH_TEXT.test(text.slice(0, LOOKED_AT).trim())
  return tellsPath(Array.isArray(answer) ? answer[0] : answer)
}

function tellsPath(answer: unknown): boolean {
  if (typeof answer === 'string') return PATH_TEXT.test(answer.slice(0, LOOKED_AT))
  if (!isRecord(answer)) return false
  const { error, errors } = answer
  if (isRecord(error)) return tellsPath(error)
  if (Array.isArray(errors) && isRecord(errors[0])) return tellsPath(errors[0])
  const { code, type, message, detail } = answer
  for (const word of [code, type]) {
    if (typeof word !== 'string') continue
    if (MODEL_CODES.has(word)) return false
    if (PATH_CODES.has(word)) return true
  }
  // The first that says something decides: Spring and NestJS repeat the status beside the words.
  const said = [message, detail, error].find((text) => typeof text === 'string' && !SAYS_NOTHING.test(text))
  return typeof said === 'string' && PATH_TEXT.test(said.slice(0, LOOKED_AT).trim())
}
