import type { UsageKind } from '../metering/usage-kinds.ts'
import type { RequestBody } from '../upstream/request-body.ts'

/** What a request's body says that the gateway needs to know, whatever its encoding. */
export interface Ask {
  /** What is counted: its endpoint's. */
  kind: UsageKind
  /** The model as the client named it. */
  model: string
  /** Models that hosted tools are to ask. */
  besides: readonly string[]
  /** The client's own limit of output tokens, if it named one. */
  outputLimit: number | undefined
  /** How many answers it wants (`n`). */
  choices: number
  /** The most input tokens that there can be, counted from bytes. */
  inputTokens: number
  images: number
  characters: number
  seconds: number
  /** The client asked for the stream's usage chunk itself. */
  wantsUsage: boolean
  /** A stream that reports its usage only when asked, and is to be asked. */
  mustAskForUsage: boolean
  /** JSON text for the tokenizer when nobody reports usage. */
  text: (() => Buffer) | undefined
  /** The content of a form that came with an `Idempotency-Key`, whatever its boundary, and how long it was with it. */
  content: { hash: string; bytes: number } | undefined
  /** What goes to a provider under its own name for the model. Undefined: spent, cannot be sent again. */
  bodyFor(upstreamModel: string, askForUsage: boolean): RequestBody | undefined
  /** Lets go of what is still kept of the client's upload. */
  discard(): void
}
