import type { Price } from './models.ts'
import type { ModelEntry } from './models-schema.ts'

/** Credits as the operator writes them -> micro-credits, defaults and margin included. */
export function buildPrice(price: NonNullable<ModelEntry['price']> = {}, margin = 0): Price {
  // 15 digits: what binary fractions add behind them would round a charge up by a micro-credit.
  const micros = (credits: number) => Number((credits * 1e6 * (1 + margin)).toPrecision(15))
  const isPerUnit = [price.perSecond, price.perCharacter, price.perImage].some((unit) => unit !== undefined)
  const isPerToken = [price.input, price.cachedInput, price.output].some((unit) => unit !== undefined)
  const usual = isPerUnit && !isPerToken ? 0 : 1
  const input = price.input ?? usual
  return {
    inputMicros: micros(input),
    cachedInputMicros: micros(price.cachedInput ?? input),
    outputMicros: micros(price.output ?? usual),
    perSecondMicros: micros(price.perSecond ?? 0),
    perCharacterMicros: micros(price.perCharacter ?? 0),
    perImageMicros: micros(price.perImage ?? 0),
  }
}
