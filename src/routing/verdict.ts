import { type GatewayError, gatewayBusy, modelNotFound, upstreamFailed, upstreamTimeout } from '../errors.ts'
import { type Failure, isModelMissing } from './failover.ts'

/** One request's way through its plan, for judgement. */
export interface Walked {
  failures: readonly Failure[]
  /** How long each provider of the plan rests. */
  restsMs: readonly number[]
  /** Steps of the plan that nobody knows an answer of: not asked, and not known to lack the model. */
  neverAsked: number
}

/** The one error that stands for all attempts of a request. */
export const judgeFailures = (model: string, { failures, restsMs, neverAsked }: Walked): GatewayError => {
  const last = failures.at(-1)
  const name = model.slice(0, 64)
  if (last && neverAsked === 0 && failures.every(isModelMissing)) {
    const text = 'No provider knows this model; GET /v1/models lists what your token may use'
    return modelNotFound(text, { param: 'model' })
  }
  if (last && failures.every(({ kind }) => kind === 'own')) return ownFault(last)
  const retryAfterMs = Math.max(1000, Math.min(...restsMs))
  if (last?.kind === 'timeout' || last?.status === 504) {
    return upstreamTimeout(`No provider of "${name}" answered in time; try again`, { retryAfterMs })
  }
  return upstreamFailed(`No provider of "${name}" could answer; try again in a moment`, { retryAfterMs })
}

/** Nobody could even be asked, by a fault of this machine. */
export const ownFault = ({ reason }: Failure): GatewayError =>
  gatewayBusy('The gateway could not send this request on right now; send it again in a moment', {
    cause: new Error(reason),
  })
