import { isRecord, type JsonRecord } from '../json.ts'
import type { Dialect } from './dialect.ts'
import { textIn } from './message-parts.ts'
import { openai } from './openai.ts'
import { textOfTypedEvent } from './openai-responses.ts'
import { NO_USAGE, readCount, readDuration, type Usage } from './usage.ts'
import { holdsSomething, NO_OUTPUT, readToldError, type ToldFailure } from './verdict.ts'

const INPUT_ALONE: Partial<Dialect> = {
  hasOutput: false,
  answersInText: false,
  readReport: readInputReport,
  readUnreported: ({ meta }) => readBilledUnits(meta),
  textOfEvent: textOfTypedEvent,
  failureOf: failureOfList,
}

/** Embeddings, and moderations, which are asked and answered alike. */
export const openaiEmbeddings = openai('openai-embeddings', INPUT_ALONE)

/** Rankings, as Jina and Cohere have them: OpenAI has none. */
export const openaiRerank = openai('openai-rerank', INPUT_ALONE)

/** Pictures that are made, edited or varied. */
export const openaiImages = openai('openai-images', {
  unit: 'perImage',
  countsImages: true,
  answersInText: false,
  endTypes: ['image_generation.completed', 'image_edit.completed'],
  textOfEvent: textOfTypedEvent,
  failureOf: failureOfList,
})

/** Text that is read aloud. */
export const openaiSpeech = openai('openai-speech', {
  unit: 'perCharacter',
  countsCharacters: true,
  answersInText: false,
  endTypes: ['speech.audio.done'],
  textOfEvent: textOfTypedEvent,
})

/** Recordings that are written down, or translated. */
export const openaiTranscription = openai('openai-transcription', {
  unit: 'perSecond',
  countsSeconds: true,
  readUnreported: ({ duration }) => readDuration(duration),
  endTypes: ['transcript.text.done'],
  textOfEvent: textOfTypedEvent,
  textOfAnswer: ({ text }) => textIn(text),
  // Of a silent recording there is nothing to write down.
  failureOf: readToldError,
})

/** What was asked for stands in a list, and there is none; a ranking may find nothing. */
function failureOfList(answer: JsonRecord): ToldFailure | undefined {
  const { data, results } = answer
  const isEmpty = data === null || results === null || (Array.isArray(data) && data.length === 0)
  return readToldError(answer) ?? (isEmpty || !holdsSomething(answer) ? NO_OUTPUT : undefined)
}

/** The report of what has no output: embeddings and rankings. */
function readInputReport(report: JsonRecord): Usage | undefined {
  if (report.type === 'duration') return readDuration(report.seconds)
  const named = [report.prompt_tokens, report.input_tokens, report.total_tokens]
  const inputTokens = readCount(named.find((value) => value !== undefined && value !== null))
  return inputTokens === undefined ? undefined : { ...NO_USAGE, inputTokens }
}

/** Cohere's report. Search units alone are no LLM tokens: those answers are estimated. */
function readBilledUnits(meta: unknown): Usage | undefined {
  if (!isRecord(meta)) return undefined
  for (const units of [meta.billed_units, meta.tokens]) {
    const usage = isRecord(units) ? readInputReport(units) : undefined
    if (usage) return usage
  }
  return undefined
}
