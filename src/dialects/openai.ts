import type { DialectName } from '../config/endpoints.ts'
import type { GatewayError } from '../errors.ts'
import type { JsonRecord } from '../json.ts'
import { type Api, buildDialect, type Dialect, type ListedModel } from './dialect.ts'
import { type NamedParts, readCount, readDetail, readUsageReport } from './usage.ts'

/** Models have no birthday here; SDKs want a number of seconds. */
export const CREATED_S = 1_700_000_000

/** What OpenAI and everyone who imitates it share. */
const OPENAI: Api = {
  isSpokenBy: ({ dialects }) => dialects.includes('openai'),
  unspokenText: 'No provider of this model speaks the OpenAI API; use /v1/messages',
  authorize(headers, _client, key) {
    if (key !== undefined) headers.push('authorization', `Bearer ${key}`)
  },
  requestIdHeader: undefined,
  errorStatus: ({ statusCode }) => statusCode,
  errorBody: (error) => JSON.stringify(errorOf(error)),
  errorEvent: (error) => `data: ${JSON.stringify(errorOf(error))}\n\n`,
  describeModel,
  listModels: (models) => ({ object: 'list', data: models.map(describeModel) }),
}

/** A format of OpenAI's API. */
export function openai(name: DialectName, own: Partial<Dialect> = {}): Dialect {
  return buildDialect(OPENAI, {
    name,
    readReport: (report) => readUsageReport(report, readParts),
    ...own,
  })
}

function errorOf({ message, type, param, code }: GatewayError) {
  return { error: { message, type, param, code } }
}

function describeModel({ name, owner }: ListedModel): JsonRecord {
  return { id: name, object: 'model', created: CREATED_S, owned_by: owner }
}

/** The cached input is a part of the input; the Realtime API writes the singular. */
function readParts(report: JsonRecord): NamedParts {
  const cached =
    readDetail(report, 'input_tokens_details', 'cached_tokens') ??
    readDetail(report, 'input_token_details', 'cached_tokens') ??
    0
  return {
    input: readCount(report.input_tokens),
    output: readCount(report.output_tokens),
    total: readCount(report.total_tokens),
    reasoning: readDetail(report, 'output_tokens_details', 'reasoning_tokens') ?? 0,
    cacheRead: Math.max(cached, readCount(report.cache_read_input_tokens) ?? 0),
    cacheWritten: readCount(report.cache_creation_input_tokens) ?? 0,
    mayHideThoughts: false,
    hasSound: false,
  }
}
