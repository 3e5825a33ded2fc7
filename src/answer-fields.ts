/** What of a provider's answer a client may see. Account names and the account's own limits are not on the list. */
export const PASSED_FIELDS = [
  'content-type',
  'content-encoding',
  'content-language',
  'content-disposition',
  'openai-processing-ms',
  'openai-version',
  'openai-model',
] as const

/** Every field of an answer that anybody reads or passes on. */
export const READ_FIELDS = [
  ...PASSED_FIELDS,
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'retry-after',
  'retry-after-ms',
] as const
