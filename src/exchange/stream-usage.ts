import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from '../dialects/usage.ts'
import { estimateUsage } from '../metering/estimate.ts'
import { sawEnd } from '../metering/sse.ts'
import type { StreamMeter } from '../metering/stream-meter.ts'
import { lacksTokens, usualSeconds, withSeconds } from '../metering/usage.ts'
import type { PaidCall } from './paid-call.ts'
import type { UsageFilter } from './usage-filter.ts'

interface Seen {
  meter: StreamMeter
  filter: UsageFilter | undefined
  /** The provider ended it as it should. */
  isComplete: boolean
}

/** What a stream used: the provider's count; where it is missing or cut short, ours. */
export function usageOfStream(
  call: PaidCall,
  price: Price,
  { meter, filter, isComplete }: Seen,
): Usage | Promise<Usage> {
  const { ask, endpoint } = call
  const { dialect } = endpoint
  const hidden = filter?.report()
  const reported = (hidden && dialect.readReport(hidden)) ?? meter.usage()
  const isWhole = isComplete || sawEnd(dialect, meter.tail())
  if (reported && isWhole && !lacksTokens(dialect, reported, price))
    return withSeconds(reported, ask.seconds, price)
  return estimateRest(call, meter, reported)
}

async function estimateRest(
  { ask, endpoint: { dialect }, token }: PaidCall,
  meter: StreamMeter,
  reported: Usage | undefined,
): Promise<Usage> {
  const own = await estimateUsage({
    dialect,
    key: token.id,
    requestBody: ask.text?.(),
    meter,
    characters: ask.characters,
    seconds: usualSeconds(ask.seconds),
    images: ask.images,
  })
  if (!reported) return own
  const inputTokens = reported.inputTokens || own.inputTokens
  const outputTokens = Math.max(reported.outputTokens, own.outputTokens)
  return { ...reported, inputTokens, outputTokens, estimated: true }
}
