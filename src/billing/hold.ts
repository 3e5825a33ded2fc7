import type { Price } from '../config/catalog/catalog.ts'
import { type GatewayError, insufficientQuota } from '../errors.ts'
import { countInput } from '../metering/estimate.ts'
import { type CostFacts, leastMicros, worstCaseMicros } from '../metering/price.ts'
import type { Step } from '../routing/plan.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import type { Token } from '../stores/contracts/tokens.ts'

/** A stream's first step of output, and each further one: LLM tokens of all its choices. */
export const STREAM_STEP_TOKENS = 2_048

/** Who pays for what. */
export interface Payer {
  token: Token
  requestId: string
}

/** What a request may cost, and what is known of how it is answered. */
export interface HeldFacts extends CostFacts {
  /** The client asked for a stream. */
  isStream?: boolean
  /** What a tokenizer counts, where the bytes alone would have it refused. */
  text?: (() => Buffer) | undefined
}

/**
 * Sets aside what a request may cost before a provider is asked, at the dearest price of all steps that may answer: of a
 * whole answer all of it, of a stream the first step. It is no hook, so that nothing can come between the hold and the
 * request that settles it. Throws `insufficient_quota` and `store_unavailable`.
 */
export async function holdCredits(
  store: Accounts,
  payer: Payer,
  steps: readonly Step[],
  facts: HeldFacts,
): Promise<Hold> {
  const bounded = isHeldInSteps(facts) ? { ...facts, outputLimit: firstStep(facts) } : facts
  const hold = await tryHold(store, payer, steps, bounded)
  if (hold) return hold
  // A store that fails only now has just refused the hold.
  const free = (await store.credits(payer.token.id).catch(() => undefined))?.balanceMicros ?? 0
  if (free < worstOf(steps, atTheLeast(bounded)).least) throw notCovered(steps, bounded, free)
  const closer = { ...bounded, inputTokens: await closestInput(facts, steps, payer.token.id) }
  const isCloser = closer.inputTokens < facts.inputTokens
  const second = isCloser ? await tryHold(store, payer, steps, closer) : undefined
  if (second) return second
  throw notCovered(steps, closer, free)
}

/** What passes of it can be counted as it passes: pictures and speech cannot. */
function isHeldInSteps({ isStream, dialect }: HeldFacts): boolean {
  return isStream === true && dialect.answersInText && !dialect.countsSeconds
}

/** Counting costs a thread's time: only a request that could be covered at all is worth it. */
async function closestInput(
  { dialect, text, inputTokens }: HeldFacts,
  steps: readonly Step[],
  key: string,
): Promise<number> {
  const body = text?.()
  if (!body) return inputTokens
  const models = steps.map(({ upstreamModel }) => upstreamModel)
  return Math.min(inputTokens, (await countInput({ dialect, body, models, key })) ?? inputTokens)
}

/** No text has fewer LLM tokens: what is not covered even so need not be counted. */
function atTheLeast(facts: HeldFacts): HeldFacts {
  return { ...facts, inputTokens: Math.floor(facts.inputTokens / 4) }
}

/** Of all choices together: a stream of many begins with as little as one of one. */
function firstStep({ outputLimit, choices }: CostFacts): number {
  const each = Math.max(1, Math.floor(STREAM_STEP_TOKENS / choices))
  return outputLimit === undefined || outputLimit < 1 ? each : Math.min(each, outputLimit)
}

async function tryHold(
  store: Accounts,
  { token, requestId }: Payer,
  steps: readonly Step[],
  facts: HeldFacts,
): Promise<Hold | undefined> {
  const { micros, least } = worstOf(steps, facts)
  // A whole answer whose limit the client named must be covered, and one that costs its input alone; a stream, or one
  // without a limit, may begin on what is left.
  const mayBegin = isHeldInSteps(facts) || (facts.outputLimit === undefined && facts.dialect.hasOutput)
  const leastWanted = mayBegin ? Math.min(least, micros) : micros
  return store.hold({ accounts: [token.id], requestId, micros, leastMicros: leastWanted })
}

function worstOf(steps: readonly Step[], facts: CostFacts): { micros: number; least: number } {
  let [micros, least] = [0, 0]
  for (const { model } of steps) {
    micros = Math.max(micros, worstCaseMicros(facts, model.price, model.maxOutput))
    least = Math.max(least, leastMicros(facts, model.price))
  }
  return { micros, least }
}

/** The refusal, which says what would fit: at the dearest step, beside what other requests hold just now. */
function notCovered(steps: readonly Step[], facts: CostFacts, free: number): GatewayError {
  const { micros } = worstOf(steps, facts)
  const fitting = fittingOutput(steps, facts, free)
  const wish = fitting > 0 ? `ask for at most ${fitting} output tokens (max_tokens)` : 'send less'
  return insufficientQuota(
    `Your balance does not cover this request, which may cost ${credits(micros)} credits while ` +
      `${Math.floor(free / 1e6)} are free: ${wish}, wait for requests that still run, or have your token topped up. ` +
      'GET /v1/token shows your balance.',
  )
}

/** How many LLM tokens each answer may have for this much; 0: the input alone is too dear, or no output is counted. */
function fittingOutput(steps: readonly Step[], facts: CostFacts, micros: number): number {
  let fitting = Number.POSITIVE_INFINITY
  for (const { model } of steps) {
    const [one, two] = [1, 2].map((outputLimit) =>
      worstCaseMicros({ ...facts, outputLimit }, model.price, model.maxOutput),
    )
    if (one !== undefined && two !== undefined && two > one)
      fitting = Math.min(fitting, Math.floor((micros - one) / (two - one)) + 1)
  }
  return Number.isFinite(fitting) ? Math.max(0, fitting) : 0
}

/**
 * Turns away what cannot be paid however little it is: for a body that is still to be read, at the cheapest price there
 * is. Credits that other requests hold may come back until it is here, and count for it. Throws `insufficient_quota`.
 */
export async function refuseUncovered(
  store: Accounts,
  token: Token,
  prices: readonly Price[],
  facts: CostFacts,
): Promise<void> {
  const least = Math.min(...prices.map((price) => leastMicros(facts, price)))
  if (least === 0 || least === Number.POSITIVE_INFINITY) return
  // A store that cannot be asked refuses the hold itself, in words of its own.
  const found = await store.credits(token.id).catch(() => undefined)
  if (!found || found.balanceMicros + found.heldMicros >= least) return
  throw insufficientQuota(
    `Your balance does not cover a body of this size, which costs at least ${credits(least)} credits; ` +
      'send less or have your token topped up. GET /v1/token shows your balance.',
  )
}

function credits(micros: number): number {
  return Math.ceil(micros / 1e6)
}
