import type { Dialect } from '../dialects/dialect.ts'
import type { CostFacts } from '../metering/price.ts'

/** As many bytes of a file in a JSON body count as one LLM token at the least (`inputBound`); text counts for more. */
const BYTES_PER_TOKEN = 8
/** What a model makes of a form's file: of a recording at most, and of a picture that is counted here. */
export const FILE_TOKENS = 8_192
/** The lowest bit rate that recorded speech comes in: seconds are bounded by bytes. */
export const MIN_AUDIO_BYTES_PER_SECOND = 2_000

/** What can be said of a body by its length alone: whatever stands in it, it is counted for no less. */
export const leastFacts = (dialect: Dialect, bytes: number, isForm: boolean): CostFacts => ({
  dialect,
  inputTokens: isForm ? Math.min(bytes, FILE_TOKENS) : Math.floor(bytes / BYTES_PER_TOKEN),
  choices: 1,
  images: dialect.countsImages ? 1 : 0,
  characters: 0,
  seconds: isForm && dialect.countsSeconds ? Math.ceil(bytes / MIN_AUDIO_BYTES_PER_SECOND) : 0,
})
