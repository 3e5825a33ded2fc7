import { setTimeout as wait } from 'node:timers/promises'
import { chat, chatStream } from '../support/answers.ts'
import { type Behaviour, json, raw, type SeenRequest, status } from '../support/behaviour.ts'
import * as faults from '../support/faults.ts'
import type { FakeProvider } from '../support/provider.ts'
import * as refusals from '../support/refusals.ts'
import { sse } from '../support/stream-behaviours.ts'

const RETRY_AFTER_S = 1
/** While nobody is well, ten retries a second reach each provider: one that is well again is found by them. */
const FOUND_WELL_MS = 200
/** A word of one token, as every tokenizer that is in use counts it. */
const WORD = ' one'
const event = (body: object) => `data: ${JSON.stringify(body)}\n\n`
const wordEvent = event({ choices: [{ index: 0, delta: { content: WORD }, finish_reason: null }] })
const ERROR = { error: { message: 'Upstream error', code: 429, type: 'rate_limit_error' } }
const wordsOf = (count: number) => Array.from({ length: count }, () => WORD)
const isStream = (seen: SeenRequest): boolean => seen.json().stream === true

/** What a provider does when it is not well. */
const KINDS = {
  reset: () => faults.resetBeforeAnswer(),
  'reset in the body': () => faults.resetAtBodyByte(40, json({ id: 'x'.repeat(100) })),
  'status 500': () => refusals.choking(),
  'status 429': () => status(429),
  'come again': () => refusals.comeAgainIn(RETRY_AFTER_S),
  'wrong key': () => refusals.wrongKey(),
  hang: () => faults.hang(),
  'head alone': (seen) => (isStream(seen) ? faults.resetAtBodyByte(0, chatStream()) : faults.wrongLength()),
  'empty body': (seen) =>
    raw(200, { 'content-type': isStream(seen) ? 'text/event-stream' : 'application/json' }),
  'error inside a 200': (seen) => (isStream(seen) ? sse([event(ERROR)]) : json(ERROR)),
  'error as the first event': (seen) => (isStream(seen) ? sse([': wait\n\n', event(ERROR)]) : json(ERROR)),
} satisfies Record<string, (seen: SeenRequest) => Behaviour>

type Kind = keyof typeof KINDS
const ALL_KINDS = Object.keys(KINDS) as Kind[]

/** What it said and did, for the bill and for judgement. */
export interface Told {
  /** Output that left, by the request's own word. */
  delivered: Map<string, number>
  /** Requests whose answer was cut after output had left. */
  cut: Set<string>
}

/** A provider that is well for a while, then fails in one way or in all, and so on. */
export class StormProvider {
  /** When it was last well again; undefined: it is not. */
  wellSince: number | undefined = performance.now()
  readonly #random: () => number
  readonly #told: Told
  #mode: Kind | 'well' | 'mixed' | 'cut' = 'well'
  #toldUntil = 0

  constructor(told: Told, random: () => number) {
    this.#told = told
    this.#random = random
  }

  /** Answers as it is until `goesOn` says no. */
  async run(provider: FakeProvider, goesOn: () => boolean): Promise<void> {
    provider.answer((seen) => this.#choose(seen))
    while (goesOn()) {
      await this.#stay('well', 300 + 1000 * this.#random())
      await this.#stay(
        this.#pick([...ALL_KINDS, 'mixed', 'mixed', 'cut', 'cut']),
        400 + 2000 * this.#random(),
      )
    }
    await this.#stay('well', 0)
  }

  /** Whether it was well from then on till now, for long enough to be found so, and had asked nobody to wait. */
  hasBeenWell(since: number): boolean {
    const found = since - FOUND_WELL_MS
    return this.wellSince !== undefined && this.wellSince <= found && this.#toldUntil <= found
  }

  #pick<T>(from: readonly T[]): T {
    const found = from[Math.floor(this.#random() * from.length)]
    if (found === undefined) throw new Error('There is nothing to pick from')
    return found
  }

  #stay(mode: Kind | 'well' | 'mixed' | 'cut', ms: number): Promise<void> {
    this.#mode = mode
    this.wellSince = mode === 'well' ? performance.now() : undefined
    return wait(ms)
  }

  #choose(seen: SeenRequest): Behaviour {
    const isWell = this.#mode === 'well' || (this.#mode === 'mixed' && this.#random() < 0.5)
    if (isWell) return this.#answer(seen)
    if (this.#mode === 'cut') return isStream(seen) ? this.#cutShort(seen) : KINDS['reset in the body']()
    const kind = this.#mode === 'mixed' || this.#mode === 'well' ? this.#pick(ALL_KINDS) : this.#mode
    if (kind === 'come again') this.#toldUntil = performance.now() + RETRY_AFTER_S * 1000
    return KINDS[kind](seen)
  }

  #answer(seen: SeenRequest): Behaviour {
    const output = 1 + Math.floor(this.#random() * 20)
    this.#told.delivered.set(seen.json().user, output)
    const counts = { input: 5, output }
    return isStream(seen)
      ? chatStream({ counts, words: wordsOf(output) })
      : chat({ usage: counts, content: wordsOf(output).join('') })
  }

  /** The reset waits until the words have been read: it would take them along. */
  #cutShort(seen: SeenRequest): Behaviour {
    const output = 1 + Math.floor(this.#random() * 10)
    const { user } = seen.json()
    this.#told.delivered.set(user, output)
    this.#told.cut.add(user)
    return {
      async act(call) {
        call.res.writeHead(200, { 'content-type': 'text/event-stream' })
        for (let i = 0; i < output; i++) call.res.write(wordEvent)
        await wait(150)
        call.reset()
      },
    }
  }
}
