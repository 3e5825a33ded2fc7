import { parentPort } from 'node:worker_threads'
import * as tokenizer from 'gpt-tokenizer/encoding/o200k_base'
import type { Dialect } from '../dialects/dialect.ts'
import { DIALECTS } from '../dialects/endpoints.ts'
import { isRecord, parseJson } from '../json.ts'
import { createTurns } from '../turns.ts'
import type { Countable, Counted, CountRequest } from './counting.ts'
import { textOfRequest } from './request-text.ts'

/** The tokenizer is quadratic on text without blanks; in slices of this length a slice takes milliseconds. */
const SLICE_CHARS = 512
const SAMPLED_FROM_CHARS = 256 * 1024
const SAMPLE_SLICES = 256
const AS_PLAIN_TEXT = { disallowedSpecial: new Set<string>() }

/** Slice by slice: one user's long texts do not hold up another's. */
const turns = createTurns()

function read(what: Countable): { text: string; tokens: number } {
  if (what.of === 'text') return { text: what.text, tokens: 0 }
  const body = Buffer.from(what.body.buffer, what.body.byteOffset, what.body.byteLength)
  if (what.of === 'request') return textOfRequest(body)
  return { text: textOfAnswer(DIALECTS[what.dialect], body.toString()), tokens: 0 }
}

/** What is no JSON is text itself (subtitles). */
function textOfAnswer(dialect: Dialect, body: string): string {
  const answer = parseJson(body)
  if (isRecord(answer)) return dialect.textOfAnswer(answer)
  return answer === undefined ? body : ''
}

/** A long text is counted by a sample. */
async function count(key: string, { text, tokens }: { text: string; tokens: number }): Promise<number> {
  const isSampled = text.length > SAMPLED_FROM_CHARS
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
  new Promise<number>((resolve) => resolve(count(key, read(what)))).then(tell, () => tell(undefined))
})
