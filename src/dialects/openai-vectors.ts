import { isRecord, type JsonRecord } from '../json.ts'
import { openai } from './openai.ts'
import { readInputReport, type Usage } from './usage.ts'

const INPUT_ALONE = {
  hasOutput: false,
  answersInText: false,
  readReport: readInputReport,
  readUnreported: ({ meta }: JsonRecord) => readBilledUnits(meta),
}

/** Embeddings, and moderations, which are asked and answered alike. */
export const openaiEmbeddings = openai('openai-embeddings', INPUT_ALONE)

/** Rankings, as Jina and Cohere have them: OpenAI has none. */
export const openaiRerank = openai('openai-rerank', INPUT_ALONE)

/** Cohere's report. Search units alone are no LLM tokens: those answers are estimated. */
function readBilledUnits(meta: unknown): Usage | undefined {
  if (!isRecord(meta)) return undefined
  for (const units of [meta.billed_units, meta.tokens]) {
    const usage = isRecord(units) ? readInputReport(units) : undefined
    if (usage) return usage
  }
  return undefined
}
