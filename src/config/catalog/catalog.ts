import type { ServiceRoute, ServiceTable } from './service-routes.ts'

/** Whose wire formats a provider speaks: OpenAI's (`/chat/completions`, ...) or Anthropic's (`/messages`). */
export type ApiName = (typeof API_NAMES)[number]

export const API_NAMES = ['openai', 'anthropic'] as const

/** How long one provider or model may take, where the settings of these names (`ANSWER_TIMEOUT_MS`, ...) do not fit it. */
export interface Timeouts {
  answerMs?: number | undefined
  firstByteMs?: number | undefined
  idleMs?: number | undefined
  totalMs?: number | undefined
}

/** Somebody who answers: an origin, the key that goes there and nowhere else, and what it speaks. */
export interface Provider {
  /** The name in plans and logs, e.g. `openai_original`. */
  name: string
  /** Scheme, host and port, e.g. `https://api.openai.com`. */
  origin: string
  /** What stands before the endpoint's own path, without a trailing slash, e.g. `/v1`; may be empty. */
  basePath: string
  /** The secret goes to `origin` alone. Undefined for the offline demo provider. */
  key: string | undefined
  dialects: readonly ApiName[]
  /** Whether it takes `stream_options.include_usage` (a few refuse unknown fields). */
  usageOption: boolean
  timeouts?: Timeouts | undefined
}

/** Micro-credits for one of each, margin included; fractions are kept, a charge is rounded up as a whole. */
export interface Price {
  inputMicros: number
  cachedInputMicros: number
  outputMicros: number
  perSecondMicros: number
  perCharacterMicros: number
  perImageMicros: number
}

/** What a price may name in place of LLM tokens. */
export type Unit = 'perSecond' | 'perCharacter' | 'perImage'

/** One provider of a plan, and the provider's own name for the model (undefined: the name as asked). */
export interface PlanStep {
  provider: Provider
  model: string | undefined
  /** The model's, and where it says nothing the provider's. */
  timeouts?: Timeouts | undefined
}

export interface Model {
  name: string
  plan: readonly PlanStep[]
  price: Price
  /** Where `price` names these units alone: what is counted in none of them has this price, by LLM tokens. */
  tokenPrice?: { units: readonly Unit[]; price: Price } | undefined
  /** The most LLM tokens one answer can hold; decides the worst case when the client names no limit. */
  maxOutput: number
  /** Only the first provider that speaks what is asked is asked: for names that nobody knows. */
  asksOnlyOne?: boolean | undefined
  /** Other models that may answer when the whole plan fails, in order. */
  fallbacks: readonly string[]
  /** A whole answer that did not come in time is asked for elsewhere, though it may have been made and paid for. */
  retryAfterTimeout?: boolean | undefined
}

/** What of the settings a catalog is made of. */
export interface CatalogSettings {
  /** The providers that have a key, in the order of preference. */
  providers: readonly Provider[]
  /** A secret by its variable's name; throws SettingsError when its file fails. */
  readKey(name: string): string | undefined
  demo: 'auto' | 'on' | 'off'
  /** No provider or model may be given more. */
  totalTimeoutMs: number
  modelsFile?: string | undefined
  /** The rows of the environment. */
  services: readonly SourcedRoute[]
  /** Names of the rows whose callers may send a token as `?api_key=`. */
  queryKeyRoutes: readonly string[]
  /** Undefined: no JWT can be verified. */
  jwt(): object | undefined
  internalKey(): string | undefined
}

/** A row and what a mistake in it is told by, such as `WS_ROUTES /ws`. */
export interface SourcedRoute {
  source: string
  route: ServiceRoute
}

/** Everything that can be asked for, as of the last reading of the models file. */
export interface Catalog {
  /** All that are listed, by name. */
  models: ReadonlyMap<string, Model>
  /** Each serves the names of its pattern (`claude-*`) that are not listed; the longest first. */
  patterns: readonly Model[]
  /** Serves every other name through its plan, the name unchanged. */
  wildcard: Model | undefined
  /** Who serves a name, listed or not; where its plan names no model of the provider's, the name goes out as it is. */
  find(name: string): Model | undefined
  /** Whether a provider may take a name that is not listed for one that is: the wildcard does not serve it. */
  looksListed(name: string): boolean
  /** All configured providers by name. */
  providers: ReadonlyMap<string, Provider>
  /** Public paths that are handed to services or unmetered to providers, of the settings and of the file. */
  services: ServiceTable
}
