import { parentPort } from 'node:worker_threads'
import * as tokenizer from 'gpt-tokenizer/encoding/o200k_base'
import type { Dialect } from '../dialects/dialect.ts'
import { DIALECTS } from '../dialects/endpoints.ts'
import { isRecord, parseJson } from '../json.ts'
import { createTurns } from '../turns.ts'
import type { Countable, Counted, CountRequest } from './counting.ts'
import { PAIR_TOKENS } from './input-bound.ts'
import { boundOfRequest, textOfRequest } from './request-text.ts'

/** The tokenizer is quadratic on text without blanks; in slices of this length a slice takes milliseconds. */
const SLICE_CHARS = 512
const SAMPLED_FROM_CHARS = 256 * 1024
const SAMPLE_SLICES = 256
const AS_PLAIN_TEXT = { disallowedSpecial: new Set<string>() }

/** Slice by slice: one user's long texts do not hold up another's. */
const turns = createTurns()

function read(what: Exclude<Countable, { of: 'bound' }>): { text: string; tokens: number } {
  if (what.of === 'text') return { text: what.text, tokens: 0 }
  const body = bytesOf(what.body)
  if (what.of === 'request') return textOfRequest(body)
  return { text: textOfAnswer(DIALECTS[what.dialect], body.toString()), tokens: 0 }
}

/** What is no JSON is text itself (subtitles). */
function textOfAnswer(dialect: Dialect, body: string): string {
  const answer = parseJson(body)
  if (isRecord(answer)) return dialect.textOfAnswer(answer)
  return answer === undefined ? body : ''
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/** All of it is counted: of a sample a client could know what it leaves out. */
async function countBound(key: string, body: Buffer, margin: number): Promise<number | undefined> {
  const bound = boundOfRequest(body)
  if (!bound) return undefined
  const { text, tokens, repeated, rounds } = bound
  const once = await count(key, { text, tokens: 0 }, false)
  const again = await count(key, { text: repeated.text, tokens: 0 }, false)
  const pairs = repeated.times * (Math.ceil(again * margin) + PAIR_TOKENS)
  return (Math.ceil(once * margin) + tokens + pairs) * rounds
}

/** A long text may be counted by a sample. */
async function count(
  key: string,
  { text, tokens }: { text: string; tokens: number },
  maySample = true,
): Promise<number> {
  const isSampled = maySample && text.length > SAMPLED_FROM_CHARS
  const step = isSampled ? Math.floor(text.length / SAMPLE_SLICES) : SLICE_CHARS
  let [at, slices, counted] = [0, 0, 0]
  await turns.run(key, () => {
    if (at >= text.length) return true
    counted += tokenizer.countTokens(text.slice(at, at + SLICE_CHARS), AS_PLAIN_TEXT)
    slices += 1
    at += step
    return at >= text.length
  })
  return tokens + (isSampled ? Math.ceil((counted * text.length) / (slices * SLICE_CHARS)) : counted)
}

parentPort?.on('message', ({ id, key, what }: CountRequest) => {
  const tell = (tokens: number | undefined): void => {
    const counted: Counted = { id, tokens }
    parentPort?.postMessage(counted)
  }
  const counting = async () =>
    what.of === 'bound' ? countBound(key, bytesOf(what.body), what.margin) : count(key, read(what))
  counting().then(tell, () => tell(undefined))
})
