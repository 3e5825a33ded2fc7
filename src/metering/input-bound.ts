import { findBase64Runs } from './base64-runs.ts'

const RUN_LEAST_TOKENS = 4096
const RUN_BYTES_PER_TOKEN = 8
const IMAGE_TOKENS = 2048
/** No model takes more; the search itself must stay cheap. */
const MAX_IMAGES = 4096
/** Searched in one go: a quote at every byte would take a millisecond and a half. */
const RANGE_BYTES = 256 * 1024

const IMAGE = Buffer.from('"image')
const URL_KEY = Buffer.from('_url"')
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/** What a ranking model reads with every document besides both texts. */
export const PAIR_TOKENS = 4
/** Below so many LLM tokens no conversation is summarized on the way (Anthropic's least trigger). */
const LEAST_SUMMARIZED_TOKENS = 50_000

/** The most LLM tokens a JSON body can be: one a byte, but for files, which models count by their size. */
export function inputBound(body: Buffer): number {
  const bound = new InputBound(body)
  while (!bound.step());
  return bound.tokens
}

/** The part of it that files are. */
export function filesBound(body: Buffer): number {
  let tokens = inputBound(body) - body.length
  for (const { start, end } of body.length > RUN_LEAST_TOKENS ? findBase64Runs(body) : [])
    tokens += end - start
  return tokens
}

/** `inputBound` in steps, each a few milliseconds at most, whatever the body. */
export class InputBound {
  tokens: number
  readonly #body: Buffer
  #from = -1
  #tries = 0

  constructor(body: Buffer) {
    this.#body = body
    this.tokens = body.length
  }

  /** True: it is known. */
  step(): boolean {
    if (this.#from === -1) this.tokens -= savedByFiles(this.#body)
    const from = Math.max(0, this.#from)
    const to = Math.min(this.#body.length, from + RANGE_BYTES)
    this.#countImages(from, to)
    this.#from = to
    return to === this.#body.length || this.#tries >= MAX_IMAGES
  }

  /** Images weigh more than their bytes when they come as a link or compress well. */
  #countImages(from: number, to: number): void {
    const body = this.#body
    const end = to + IMAGE.length - 1
    const range = end < body.length ? body.subarray(0, end) : body
    let at = range.indexOf(IMAGE, from)
    for (; at !== -1 && this.#tries < MAX_IMAGES; this.#tries += 1) {
      const after = at + IMAGE.length
      // OpenAI's parts have the key `image_url`, Anthropic's the type `image`; embeddings have a link under `image`.
      const isPart = body[after] === QUOTE ? isTypeOrLink(body, after + 1) : isUrlKey(body, after)
      if (isPart) this.tokens += IMAGE_TOKENS
      at = range.indexOf(IMAGE, after)
    }
  }
}

/** As a key it is a picture only with a text behind it: a tool may describe a property of this name. */
function isTypeOrLink(body: Buffer, at: number): boolean {
  if (body[at] !== COLON) return true
  return body[skipBlanks(body, at + 1)] === QUOTE
}

function savedByFiles(body: Buffer): number {
  if (body.length <= RUN_LEAST_TOKENS) return 0
  let saved = 0
  for (const { start, end } of findBase64Runs(body)) {
    const bytes = end - start
    saved += bytes - Math.min(bytes, Math.max(RUN_LEAST_TOKENS, Math.floor(bytes / RUN_BYTES_PER_TOKEN)))
  }
  return saved
}

function isUrlKey(body: Buffer, at: number) {
  const end = at + URL_KEY.length
  return (
    body.compare(URL_KEY, 0, URL_KEY.length, at, end) === 0 &&
    body[end] !== COMMA &&
    body[end] !== CLOSE_BRACE
  )
}

/** Where a guarded field's value stands. */
interface Span {
  start: number
  end: number
  opening: number
}

/** The fields of a body that has been read. */
export interface Fields {
  find(name: string): Span | undefined
}

interface Lists {
  prompt: ListItems | undefined
  documents: ListItems | undefined
  queryBytes: number
}

/** Nearly every request has none. */
const NO_LISTS: Lists = { prompt: undefined, documents: undefined, queryBytes: 0 }

/**
 * What multiplies a request's price besides `n`: prompts in a list are answered one by one, a ranking reads its query
 * with each document, and a conversation may be summarized before it is answered.
 */
export class Multipliers {
  /** How many prompts are answered. */
  prompts = 1
  /** What is read again and again, beyond once. */
  moreInputTokens = 0
  readonly #body: Buffer
  #lists: Lists | undefined

  constructor(body: Buffer) {
    this.#body = body
  }

  /** True: they are known. */
  step(fields: Fields, inputTokens: number): boolean {
    this.#lists ??= this.#begin(fields, inputTokens)
    const { prompt, documents, queryBytes } = this.#lists
    if (prompt?.step() === false || documents?.step() === false) return false
    // A list of numbers is one prompt, in LLM tokens.
    if (prompt && !prompt.isOfNumbers) this.prompts = Math.max(1, prompt.items)
    if (documents) this.moreInputTokens += documents.items * (queryBytes + PAIR_TOKENS)
    return true
  }

  #begin(fields: Fields, inputTokens: number): Lists {
    const edits = inputTokens < LEAST_SUMMARIZED_TOKENS ? undefined : fields.find('context_management')
    if (edits && this.#body.subarray(edits.start, edits.end).includes('"compact'))
      this.moreInputTokens += inputTokens
    const [prompt, query] = [fields.find('prompt'), fields.find('query')]
    if (!prompt && !query) return NO_LISTS
    return {
      prompt: this.#listOf(prompt),
      documents: query && this.#listOf(fields.find('documents')),
      queryBytes: query ? query.end - query.start : 0,
    }
  }

  #listOf(field: Span | undefined): ListItems | undefined {
    return field?.opening === OPEN_BRACKET ? new ListItems(this.#body, field) : undefined
  }
}

/** Counts the items of a list in steps, each less than a millisecond; strings are passed over natively. */
class ListItems {
  items = 0
  isOfNumbers = false
  readonly #body: Buffer
  readonly #end: number
  #at: number
  #depth = 0

  constructor(body: Buffer, { start, end }: Span) {
    this.#body = body
    this.#at = start
    this.#end = end
    const first = body[skipBlanks(body, start + 1)] ?? CLOSE_BRACKET
    if (first !== CLOSE_BRACKET) this.items = 1
    this.isOfNumbers = (first >= 0x30 && first <= 0x39) || first === 0x2d
  }

  step(): boolean {
    if (this.isOfNumbers) return true
    const to = Math.min(this.#end, this.#at + RANGE_BYTES)
    let at = this.#at
    for (; at < to; at += 1) {
      const byte = this.#body[at]
      if (byte === QUOTE) at = stringEnd(this.#body, at)
      else if (byte === OPEN_BRACKET || byte === OPEN_BRACE) this.#depth += 1
      else if (byte === CLOSE_BRACKET || byte === CLOSE_BRACE) this.#depth -= 1
      else if (byte === COMMA && this.#depth === 1) this.items += 1
    }
    this.#at = at
    return at >= this.#end
  }
}

function skipBlanks(body: Buffer, from: number): number {
  let at = from
  while (at < body.length && (body[at] ?? 0) <= 0x20) at += 1
  return at
}

/** Most strings are short: a native search costs more than a few bytes do. */
const SHORT_BYTES = 64

function stringEnd(body: Buffer, quote: number): number {
  const near = Math.min(body.length, quote + SHORT_BYTES)
  let at = quote + 1
  for (; at < near; at += 1) {
    if (body[at] === QUOTE) return at
    if (body[at] === BACKSLASH) at += 1
  }
  for (let end = body.indexOf(QUOTE, at); end !== -1; end = body.indexOf(QUOTE, end + 1)) {
    let first = end
    while (first > at && body[first - 1] === BACKSLASH) first -= 1
    if ((end - first) % 2 === 0) return end
  }
  return body.length
}
