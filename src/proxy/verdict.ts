import { type GatewayError, modelNotFound, upstreamFailed, upstreamTimeout } from '../errors.ts'
import type { Failure } from './failover.ts'

/** The one error that stands for all attempts of a request; `restsMs`: how long each provider of the plan rests. */
export const judgeFailures = (
  model: string,
  failures: readonly Failure[],
  restsMs: readonly number[],
): GatewayError => {
  const last = failures.at(-1)
  const name = model.slice(0, 64)
  if (last && failures.every((failure) => failure.status === 404)) {
    const text = 'No provider knows this model; GET /v1/models lists what your token may use'
    return modelNotFound(text, { param: 'model' })
  }
  const retryAfterMs = Math.max(1000, Math.min(...restsMs))
  if (last?.kind === 'timeout' || last?.status === 504) {
    return upstreamTimeout(`No provider of "${name}" answered in time; try again`, { retryAfterMs })
  }
  return upstreamFailed(`No provider of "${name}" could answer; try again in a moment`, { retryAfterMs })
}
