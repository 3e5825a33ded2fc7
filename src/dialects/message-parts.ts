import { isRecord } from '../json.ts'

/** The fields of a request, in whatever format, in which a model is told something. */
export const READ_FIELDS: readonly string[] = [
  'messages',
  'input',
  'prompt',
  'suffix',
  'system',
  'instructions',
  'tools',
  'functions',
  'response_format',
  'query',
  'documents',
]

/** A string, or nothing in place of any other value. */
export function textIn(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

export function listIn(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

export function textOfParts(parts: unknown): string {
  return listIn(parts).map(textOfPart).join('')
}

/** A part of a message: OpenAI's and Anthropic's have the same shape, and Responses nests them in items. */
export function textOfPart(part: unknown): string {
  if (!isRecord(part)) return ''
  const input = isRecord(part.input) ? JSON.stringify(part.input) : ''
  const own = [part.text, part.thinking, part.partial_json, part.refusal, part.arguments].map(textIn).join('')
  // Mistral's thoughts are parts themselves.
  return own + input + textOfInner(part.content) + textOfInner(part.summary) + textOfInner(part.thinking)
}

function textOfInner(parts: unknown): string {
  return listIn(parts)
    .map((part) => (isRecord(part) ? textIn(part.text) + textIn(part.refusal) : ''))
    .join('')
}
