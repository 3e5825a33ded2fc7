import { countTokens, estimateInput } from '../metering/estimate.ts'
import { costMicros } from '../metering/price.ts'
import type { StreamMeter } from '../metering/stream-meter.ts'
import type { Usage } from '../metering/usage-kinds.ts'
import type { AnswerContext } from './answer.ts'

/** A stream is weighed against its hold first after so many bytes per output token that the hold covers. */
const BYTES_PER_COVERED_TOKEN = 4
const LEAST_BYTES_BETWEEN_WEIGHINGS = 2_048

/** Tells when what has passed costs more than was set aside; cheap until a stream comes near. */
export const createHoldGuard = (context: AnswerContext, meter: StreamMeter): ((cut: () => void) => void) => {
  const { price, ask, heldMicros } = context
  const { kind } = context.endpoint
  if (price.outputMicros <= 0 || kind === 'free') return () => {}
  // Only a guess of when to weigh; the weighing counts as the bill will.
  const inputMicros = Math.ceil(ask.inputTokens / 4) * price.inputMicros
  const covered = Math.max(0, heldMicros - inputMicros) / price.outputMicros
  // A limit that the client named is kept by the provider: such a stream is only watched for one that runs away.
  const perToken = ask.outputLimit === undefined ? BYTES_PER_COVERED_TOKEN : BYTES_PER_COVERED_TOKEN * 150
  let nextAt = covered * perToken
  let isWeighing = false
  let input: Usage | undefined
  const isTooDear = async (): Promise<boolean> => {
    input ??= await estimateInput({ kind, requestBody: ask.text?.(), meter })
    const { text, share } = meter.outputText()
    const outputTokens = Math.ceil((await countTokens(text)) / share)
    return costMicros({ ...input, outputTokens }, price) > heldMicros
  }
  return (cut) => {
    if (meter.bytes() < nextAt || isWeighing) return
    isWeighing = true
    isTooDear().then((is) => {
      isWeighing = false
      nextAt = meter.bytes() + Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, meter.bytes() / 10)
      if (is) cut()
    }, cut)
  }
}
