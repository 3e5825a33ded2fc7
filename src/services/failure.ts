import { type GatewayError, upstreamFailed, upstreamTimeout } from '../errors.ts'
import { ownFault, readNetworkFailure } from '../routing/failover.ts'

/** What a client is told when its request could not be handed on: there is nobody else to ask. */
export function answerFailure(cause: Error, target: 'provider' | 'service'): GatewayError {
  const failure = readNetworkFailure(cause)
  if (failure.kind === 'own') return ownFault(failure)
  return failure.kind === 'timeout'
    ? upstreamTimeout(`The ${target} did not answer in time.`, { cause })
    : upstreamFailed(`The ${target} could not be reached.`, { cause })
}
