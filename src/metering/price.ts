import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from './usage-kinds.ts'

/** A fraction below this is the noise of binary floats (0.1 + 0.2), not a part of a micro-credit. */
const NOISE_MICROS = 1e-6
const NOISE_RATIO = 4e-15

/** What the usage costs: whole micro-credits, rounded up once, at the end. */
export function costMicros(usage: Usage, price: Price): number {
  const cached = Math.min(positive(usage.cachedTokens), positive(usage.inputTokens))
  const micros =
    times(positive(usage.inputTokens) - cached, price.inputMicros) +
    times(cached, price.cachedInputMicros) +
    times(usage.outputTokens, price.outputMicros) +
    times(usage.seconds, price.perSecondMicros) +
    times(usage.characters, price.perCharacterMicros) +
    times(usage.images, price.perImageMicros)
  return Math.min(roundUp(micros), Number.MAX_SAFE_INTEGER)
}

const positive = (value: number) => (Number.isNaN(value) ? 0 : Math.max(value, 0))

/** Nothing times anything is nothing, also when the other is no number. */
const times = (amount: number, micros: number) => positive(amount) && positive(micros) && amount * micros

function roundUp(micros: number): number {
  if (micros === 0) return 0
  const nearest = Math.round(micros)
  const noise = Math.max(NOISE_MICROS, micros * NOISE_RATIO)
  const whole = Math.abs(micros - nearest) <= noise ? nearest : Math.ceil(micros)
  return Math.max(whole, 1)
}
