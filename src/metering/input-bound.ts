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
const CLOSE_BRACE = 0x7d

/** The most LLM tokens a JSON body can be: one a byte, but for files, which models count by their size. */
export function inputBound(body: Buffer): number {
  const bound = new InputBound(body)
  while (!bound.step());
  return bound.tokens
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
      // OpenAI's parts have the key `image_url`, Anthropic's the type `image`.
      const isPart = body[after] === QUOTE ? body[after + 1] !== COLON : isUrlKey(body, after)
      if (isPart) this.tokens += IMAGE_TOKENS
      at = range.indexOf(IMAGE, after)
    }
  }
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
