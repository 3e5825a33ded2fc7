import type { Model, Price, Unit } from './catalog.ts'
import type { ModelEntry } from './models-schema.ts'

type PriceEntry = NonNullable<ModelEntry['price']>

const UNITS: readonly Unit[] = ['perSecond', 'perCharacter', 'perImage']

/** Credits as the operator writes them -> micro-credits, defaults and margin included. */
export function buildPrice(price: PriceEntry = {}, margin = 0): Price {
  // 15 digits: what binary fractions add behind them would round a charge up by a micro-credit.
  const micros = (credits: number) => Number((credits * 1e6 * (1 + margin)).toPrecision(15))
  const usual = namesUnitsAlone(price) ? 0 : 1
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

/** A price by the second, letter or image alone says nothing of LLM tokens: where these are counted they cost as usual. */
export function buildTokenPrice(price: PriceEntry = {}, margin = 0): Model['tokenPrice'] {
  if (!namesUnitsAlone(price)) return undefined
  return { units: unitsOf(price), price: buildPrice({ ...price, input: 1 }, margin) }
}

function unitsOf(price: PriceEntry): Unit[] {
  return UNITS.filter((unit) => price[unit] !== undefined)
}

function namesUnitsAlone(price: PriceEntry): boolean {
  const isPerToken = [price.input, price.cachedInput, price.output].some((rate) => rate !== undefined)
  return !isPerToken && unitsOf(price).length > 0
}
