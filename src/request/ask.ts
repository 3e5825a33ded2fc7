import type { Readable } from 'node:stream'
import type { Dialect } from '../dialects/dialect.ts'
import type { CostFacts } from '../metering/price.ts'

/** What goes to a provider: bytes, pieces of bytes, or a stream, whose length is known or not. */
export interface OutgoingBody {
  body: Buffer | Readable | readonly Buffer[]
  /** The body's bytes; needed for pieces, and for a stream that is to go without chunks. */
  length: number | undefined
}

/** What a request's body says that the gateway needs to know, whatever its encoding. */
export interface Ask extends CostFacts {
  /** The model as the client named it. */
  model: string
  /** Models that hosted tools are to ask. */
  besides: readonly string[]
  /** The client asked for a stream. */
  isStream: boolean
  /** The client asked for the stream's usage chunk itself. */
  wantsUsage: boolean
  /** A stream that reports its usage only when asked, and is to be asked. */
  mustAskForUsage: boolean
  /** JSON text for the tokenizer when nobody reports usage. */
  text: (() => Buffer) | undefined
  /** The content of a form that came with an `Idempotency-Key`, whatever its boundary, and how long it was with it. */
  content: { hash: string; bytes: number } | undefined
  /** What goes to a provider under its own name for the model. Undefined: spent, cannot be sent again. */
  bodyFor(upstreamModel: string, askForUsage: boolean): OutgoingBody | undefined
  /** Lets go of what is still kept of the client's upload. */
  discard(): void
}

/** As many bytes of a file in a JSON body count as one LLM token at the least (`inputBound`); text counts for more. */
const BYTES_PER_TOKEN = 8
/** What a model makes of a form's file: of a recording at most, and of a picture that is counted here. */
export const FILE_TOKENS = 8_192
/** The lowest bit rate that recorded speech comes in: seconds are bounded by bytes. */
export const MIN_AUDIO_BYTES_PER_SECOND = 2_000

/** What can be said of a body by its length alone: whatever stands in it, it is counted for no less. */
export function leastFacts(dialect: Dialect, bytes: number, isForm: boolean): CostFacts {
  return {
    dialect,
    inputTokens: isForm ? Math.min(bytes, FILE_TOKENS) : Math.floor(bytes / BYTES_PER_TOKEN),
    choices: 1,
    images: dialect.countsImages ? 1 : 0,
    characters: 0,
    seconds: isForm && dialect.countsSeconds ? Math.ceil(bytes / MIN_AUDIO_BYTES_PER_SECOND) : 0,
  }
}
