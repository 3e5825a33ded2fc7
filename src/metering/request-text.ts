import { READ_FIELDS } from '../dialects/message-parts.ts'
import { isRecord, type JsonRecord, parseJson } from '../json.ts'
import { findBase64Runs } from './base64-runs.ts'

/** What a provider charges for a picture or a file, roughly. */
const FILE_TOKENS = 1000
const FILE_CHARS = 1024
const MESSAGE_TOKENS = 4
/** Larger requests are read as they stand: parsing them would stall everybody else. */
const MAX_PARSED_BYTES = 256 * 1024

export interface RequestText {
  text: string
  /** The LLM tokens of all that is no text: files, ready-made token ids, what every message costs besides. */
  tokens: number
}

/** What a model reads of a JSON request; nothing of what is no JSON. */
export function textOfRequest(body: Buffer): RequestText {
  if (body.length > MAX_PARSED_BYTES) return textOfLarge(body)
  const request = parseJson(body.toString())
  if (!isRecord(request)) return { text: '', tokens: 0 }
  const found = collect(request)
  const messages = Array.isArray(request.messages) ? request.messages.length * MESSAGE_TOKENS : 0
  return { text: found.text, tokens: found.tokens + messages }
}

/** Walks without recursion, for a request may be nested deeper than the stack. */
function collect(request: JsonRecord): RequestText {
  const texts: string[] = []
  let tokens = 0
  const open: unknown[] = READ_FIELDS.map((name) => request[name])
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value === 'string') {
      if (isFile(value)) tokens += FILE_TOKENS
      else texts.push(value)
    } else if (typeof value === 'number') tokens++
    else if (Array.isArray(value)) for (const item of value) open.push(item)
    else if (isRecord(value)) addFields(value, open)
  }
  return { text: texts.join('\n'), tokens }
}

/** A tool's schema says as much in its keys as in its values; those of messages are counted per message. */
function addFields(value: JsonRecord, open: unknown[]): void {
  const isMessagePart = value.role !== undefined || typeof value.type === 'string'
  for (const [name, item] of Object.entries(value)) {
    if (isMessagePart && (name === 'role' || name === 'type')) continue
    if (!isMessagePart) open.push(name)
    open.push(item)
  }
}

function isFile(text: string) {
  return /^data:[^,]{0,160};base64,/.test(text) || (text.length > FILE_CHARS && !/[^\w+/=-]/.test(text))
}

function textOfLarge(body: Buffer): RequestText {
  const parts: string[] = []
  let from = 0
  const runs = findBase64Runs(body)
  for (const { start, end } of runs) {
    parts.push(body.toString('utf8', from, start))
    from = end
  }
  parts.push(body.toString('utf8', from))
  return { text: parts.join(''), tokens: runs.length * FILE_TOKENS }
}
