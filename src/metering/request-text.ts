import { READ_FIELDS } from '../dialects/message-parts.ts'
import { isRecord, type JsonRecord, parseJson } from '../json.ts'
import { findBase64Runs } from './base64-runs.ts'
import { filesBound } from './input-bound.ts'

/** What a provider charges for a picture or a file, roughly. */
const FILE_TOKENS = 1000
const FILE_CHARS = 1024
const MESSAGE_TOKENS = 4
const MOST_WORD_CHARS = 32
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
  const found = collectAll(request)
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
  const found = collect(READ_FIELDS.map((name) => request[name]))
  const messages = Array.isArray(request.messages) ? request.messages.length * MESSAGE_TOKENS : 0
  return { text: found.text, tokens: found.tokens + messages }
}

/** Walks without recursion, for a request may be nested deeper than the stack. */
function collect(open: unknown[]): RequestText {
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
    if (isMessagePart && (name === 'role' || name === 'type') && isWord(item)) continue
    if (!isMessagePart) open.push(name)
    open.push(item)
  }
}

/** What stands around a field or an item, where a model is given JSON as it is. */
const FIELD_TOKENS = 2
const ITEM_TOKENS = 1
/** Where a list of numbers is text in LLM tokens. */
const TOKEN_FIELDS: readonly string[] = ['input', 'prompt']

/**
 * All of it: names, numbers and flags too, for a tool's schema or input is read as it stands, and whoever pays chooses
 * its names. Files were taken out before, for a text of letters alone must not pass as one.
 */
function collectAll(request: JsonRecord): RequestText {
  const texts: string[] = []
  const open: unknown[] = []
  let tokens = 0
  for (const [name, value] of Object.entries(request)) {
    const given = TOKEN_FIELDS.includes(name) ? countGiven(value) : 0
    tokens += given + FIELD_TOKENS
    texts.push(name)
    if (given === 0) open.push(value)
  }
  while (open.length > 0) {
    const value = open.pop()
    if (Array.isArray(value)) {
      tokens += value.length * ITEM_TOKENS
      for (const item of value) open.push(item)
    } else if (isRecord(value))
      for (const [name, item] of Object.entries(value)) {
        tokens += FIELD_TOKENS
        texts.push(name)
        open.push(item)
      }
    else texts.push(String(value))
  }
  return { text: texts.join('\n'), tokens }
}

/** How many LLM tokens a list of them has, or a list of such lists; 0: it is none. */
function countGiven(value: unknown): number {
  if (!Array.isArray(value)) return 0
  let count = 0
  for (const item of value) {
    const own = typeof item === 'number' ? 1 : Array.isArray(item) && item.every(isNumber) ? item.length : 0
    if (own === 0) return 0
    count += own
  }
  return count
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number'
}

/** What is longer says more than what kind of part it is. */
function isWord(value: unknown): boolean {
  return typeof value === 'string' && value.length <= MOST_WORD_CHARS
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
