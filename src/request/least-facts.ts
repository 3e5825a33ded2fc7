import type { Endpoint } from '../dialects/endpoints.ts'
import type { RequestFacts } from '../metering/worst-case.ts'

/** As many bytes of a file in a JSON body count as one LLM token at the least (`inputBound`); text counts for more. */
const BYTES_PER_TOKEN = 8
/** What a model makes of a form's file: of a recording at most, and of a picture that is counted here. */
export const FILE_TOKENS = 8_192
/** The lowest bit rate that recorded speech comes in: seconds are bounded by bytes. */
export const MIN_AUDIO_BYTES_PER_SECOND = 2_000

/** What can be said of a body by its length alone: whatever stands in it, it is counted for no less. */
export const leastFacts = (kind: Endpoint['kind'], bytes: number, isForm: boolean): RequestFacts => ({
  kind,
  inputTokens: isForm ? Math.min(bytes, FILE_TOKENS) : Math.floor(bytes / BYTES_PER_TOKEN),
  choices: 1,
  images: kind === 'images' ? 1 : 0,
  characters: 0,
  seconds: isForm && kind === 'transcription' ? Math.ceil(bytes / MIN_AUDIO_BYTES_PER_SECOND) : 0,
})
