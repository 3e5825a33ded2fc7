import type { ModelEntry } from './models-schema.ts'

/** One model by its name, as a models file would have it. */
export type Row = [name: string, entry: ModelEntry]
/** What of an entry is not its plan. */
export type Extra = Omit<ModelEntry, 'plan'>

/** Who makes a model; OpenRouter resells it. */
export interface Maker {
  provider: string
  /** What OpenRouter writes before the name. */
  router: string
}

interface Made extends Extra {
  /** The maker's own name, where ours is an older one. */
  direct?: string
  /** OpenRouter's name, where it differs from ours. */
  routed?: string
}

export function made(maker: Maker, name: string, { direct, routed = name, ...extra }: Made): Row {
  return [
    name,
    {
      plan: [
        direct === undefined ? { provider: maker.provider } : { provider: maker.provider, model: direct },
        { provider: 'openrouter', model: `${maker.router}/${routed}` },
      ],
      ...extra,
    },
  ]
}

export function only(provider: string, name: string, extra: Extra): Row {
  return [name, { plan: [{ provider }], ...extra }]
}

export const PER_SECOND = { price: { perSecond: 15 } }
