import type { GatewayError } from '../errors.ts'
import { isRecord, type JsonRecord } from '../json.ts'
import { type Api, buildDialect, type ListedModel } from './dialect.ts'
import { listIn, textOfPart, textOfParts } from './message-parts.ts'
import { CREATED_S } from './openai.ts'
import { type NamedParts, readCount, readDetail, readUsageReport, type Usage } from './usage.ts'
import { type EventVerdict, NO_OUTPUT, readToldError } from './verdict.ts'

const VERSION = '2023-06-01'

/** Anthropic's own words for our statuses, which its client libraries turn into classes. */
const ERROR_TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
}

const ANTHROPIC: Api = {
  isSpokenBy: ({ dialects }) => dialects.includes('anthropic'),
  unspokenText: 'No provider of this model speaks the Messages API; use /v1/chat/completions',
  authorize(headers, client, key) {
    headers.push('anthropic-version', String(client['anthropic-version'] ?? VERSION))
    if (key !== undefined) headers.push('x-api-key', key)
  },
  requestIdHeader: 'request-id',
  // Agents send a 429 again for minutes.
  errorStatus: ({ statusCode, code }) => (code === 'insufficient_quota' ? 402 : statusCode),
  errorBody,
  errorEvent: (error, requestId) => `event: error\ndata: ${errorBody(error, requestId)}\n\n`,
  describeModel,
  listModels: (models) => ({
    data: models.map(describeModel),
    has_more: false,
    first_id: models.at(0)?.name ?? null,
    last_id: models.at(-1)?.name ?? null,
  }),
}

/** The Messages API. */
export const anthropicMessages = buildDialect(ANTHROPIC, {
  name: 'anthropic-messages',
  readReport,
  isLastWord: ({ type }) => type === 'message_delta',
  startType: 'message_start',
  endTypes: ['message_stop'],
  repeatsAnswer: false,
  textOfEvent: ({ type, delta }) => (type === 'content_block_delta' ? textOfPart(delta) : ''),
  textOfAnswer: ({ content }) => textOfParts(content),
  outputField: 'content',
  failureOf: (answer) => readToldError(answer) ?? (Array.isArray(answer.content) ? undefined : NO_OUTPUT),
  judgeEvent,
  heartbeat: 'event: ping\ndata: {"type": "ping"}\n\n',
})

/** How long a message would be: nobody pays for that. */
export const anthropicCountTokens = buildDialect(ANTHROPIC, {
  name: 'anthropic-count-tokens',
  readReport,
  isFree: true,
})

function errorBody(error: GatewayError, requestId: string): string {
  return JSON.stringify({
    type: 'error',
    error: { type: readErrorType(error), message: error.message },
    request_id: requestId,
  })
}

function readErrorType({ statusCode, code }: GatewayError): string {
  if (code === 'insufficient_quota') return 'billing_error'
  return ERROR_TYPES[statusCode] ?? (statusCode < 500 ? 'invalid_request_error' : 'api_error')
}

function describeModel({ name }: ListedModel): JsonRecord {
  const createdAt = new Date(CREATED_S * 1000).toISOString()
  return { type: 'model', id: name, display_name: name, created_at: createdAt }
}

/** What stands in the iterations of a report is in its own counts, but for this. */
const IN_REPORT: readonly unknown[] = ['message', 'fallback_message']

/**
 * A report in our words. Its own counts are those of the answer alone: what was read and written for a summary of the
 * conversation (compaction), or by another model that was asked for advice, stands in its iterations, and is billed too.
 */
function readReport(report: JsonRecord): Usage | undefined {
  const own = readUsageReport(report, readParts)
  if (!own || !Array.isArray(report.iterations)) return own
  const all = { input: 0, output: 0 }
  const more = { ...own }
  for (const iteration of listIn(report.iterations)) {
    const used = isRecord(iteration) ? readUsageReport(iteration, readParts) : undefined
    if (!used || !isRecord(iteration)) continue
    all.input += used.inputTokens
    all.output += used.outputTokens
    if (IN_REPORT.includes(iteration.type)) continue
    more.inputTokens += used.inputTokens
    more.cachedTokens += used.cachedTokens
    more.outputTokens += used.outputTokens
  }
  // A router may have added them up already.
  return own.inputTokens >= all.input && own.outputTokens >= all.output ? own : more
}

/** The cached input is counted beside `input_tokens`, whether it was read or written. */
function readParts(report: JsonRecord): NamedParts {
  const input = readCount(report.input_tokens)
  const output = readCount(report.output_tokens)
  const cacheRead = readCount(report.cache_read_input_tokens) ?? 0
  const cacheWritten = readCount(report.cache_creation_input_tokens) ?? writtenIn(report.cache_creation)
  return {
    input: input === undefined ? undefined : input + cacheRead + cacheWritten,
    output,
    total: undefined,
    reasoning: readDetail(report, 'output_tokens_details', 'thinking_tokens') ?? 0,
    cacheRead,
    cacheWritten,
    mayHideThoughts: false,
    hasSound: false,
  }
}

/** The same by how long the cache keeps it. */
function writtenIn(creation: unknown): number {
  if (!isRecord(creation)) return 0
  return (
    (readCount(creation.ephemeral_5m_input_tokens) ?? 0) +
    (readCount(creation.ephemeral_1h_input_tokens) ?? 0)
  )
}

function judgeEvent(event: JsonRecord): EventVerdict {
  const { type, content_block: block } = event
  if (type === 'ping') return 'alive'
  if (type === 'message_start') return readToldError(event) ?? 'begun'
  if (type === 'message_stop') return NO_OUTPUT
  // A block of text or thoughts is opened empty; any other kind names a tool.
  const isEmpty = type === 'content_block_start' && isRecord(block) && textOfPart(block) === ''
  if (isEmpty && (block.type === 'text' || block.type === 'thinking')) return 'begun'
  return readToldError(event) ?? 'output'
}
