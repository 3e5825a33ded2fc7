import { READ_FIELDS } from '../dialects/message-parts.ts'
import { isRecord, type JsonRecord, parseJson } from '../json.ts'
import { findBase64Runs } from './base64-runs.ts'
import { filesBound } from './input-bound.ts'

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

/** What a model reads at most of a JSON request. */
export interface RequestBound extends RequestText {
  /** A text that is read with every document of a ranking. */
  repeated: { text: string; times: number }
  /** How often all of it may be read: twice where a conversation may be summarized first. */
  rounds: number
}

/** A larger body is not parsed for its bound: it stays counted by its bytes. */
export const MAX_BOUND_BYTES = 8 * 1024 * 1024
/** What providers write around tools. */
const TOOLS_TOKENS = 1000
const TOOL_TOKENS = 32

/** Everything in a JSON request that a model may read, files by their size; undefined where that cannot be said. */
export function boundOfRequest(body: Buffer): RequestBound | undefined {
  const request = body.length > MAX_BOUND_BYTES ? undefined : parseJson(textOfLarge(body).text)
  if (!isRecord(request)) return undefined
  const found = collect([request], isNoFile)
  const { messages, tools, query, documents, context_management: edits } = request
  const toolTokens = Array.isArray(tools) && tools.length > 0 ? TOOLS_TOKENS + tools.length * TOOL_TOKENS : 0
  const messageTokens = Array.isArray(messages) ? messages.length * MESSAGE_TOKENS : 0
  const isRanked = query !== undefined && Array.isArray(documents)
  return {
    text: found.text,
    tokens: found.tokens + messageTokens + toolTokens + filesBound(body),
    repeated: isRanked ? { text: textOf(query), times: documents.length } : { text: '', times: 0 },
    rounds: edits && JSON.stringify(edits).includes('"compact') ? 2 : 1,
  }
}

function textOf(query: unknown): string {
  return typeof query === 'string' ? query : JSON.stringify(query)
}

/** What a model reads of a JSON request; nothing of what is no JSON. */
export function textOfRequest(body: Buffer): RequestText {
  if (body.length > MAX_PARSED_BYTES) return textOfLarge(body)
  const request = parseJson(body.toString())
  if (!isRecord(request)) return { text: '', tokens: 0 }
  const found = collect(
    READ_FIELDS.map((name) => request[name]),
    isFile,
  )
  const messages = Array.isArray(request.messages) ? request.messages.length * MESSAGE_TOKENS : 0
  return { text: found.text, tokens: found.tokens + messages }
}

/** Walks without recursion, for a request may be nested deeper than the stack. */
function collect(open: unknown[], isFile: (text: string) => boolean): RequestText {
  const texts: string[] = []
  let tokens = 0
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

/** Files were taken out before, for a text of letters alone must not pass as one. */
function isNoFile() {
  return false
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
