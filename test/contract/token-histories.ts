import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { hashSecret, makeSecret, prefixOf } from '../../src/auth/client.ts'
import {
  accountsOf,
  balanceOf,
  expect,
  heldOf,
  leastBalance,
  type Model,
  payersOf,
  pick,
  pickPayers,
  type Step,
  step,
} from './token-model.ts'
import { newToken, type OpenedStore, usageOf } from './token-store.ts'

interface Owner {
  teardown(close: () => unknown): unknown
}

const hasToken = ({ tokens }: Model): boolean => tokens.length > 0

const mint = (micros: number): Step =>
  step(
    `mint(${micros})`,
    ({ tokens }) => tokens.length < 5,
    async ({ tokens }, { store }) => {
      const wish = newToken(micros)
      const { id } = await store.mint(wish)
      tokens.push({ id, hash: wish.hash, credited: micros, charged: 0, isDisabled: false })
    },
  )

const hold = (seed: number, micros: number, leastMicros: number): Step =>
  step(`hold(${seed}, ${micros}, ${leastMicros})`, hasToken, async (model, { store }) => {
    const payers = pickPayers(model, seed)
    const short = payers.filter((token) => balanceOf(model, token) < micros)
    const rest = Math.min(micros, leastBalance(model, payers))
    const mayTakeRest =
      rest >= Math.max(1, leastMicros) && short.every(({ id }) => heldOf(model, id).length === 0)
    const wanted = short.length === 0 ? micros : mayTakeRest ? rest : undefined
    const accounts = accountsOf(payers)
    const made = await store.hold({ accounts, requestId: randomUUID(), micros, leastMicros })
    expect('hold', made?.micros, wanted)
    if (!made) return
    model.holds.push({ id: made.id, accounts, micros: made.micros })
    expect('left', made.balanceMicros, leastBalance(model, payers))
  })

const raise = (seed: number, micros: number, leastMicros: number): Step =>
  step(
    `raise(${seed}, ${micros}, ${leastMicros})`,
    ({ holds }) => holds.length > 0,
    async (model, { store }) => {
      const open = pick(model.holds, seed)
      const payers = payersOf(model, open.accounts)
      const most = Math.max(open.micros, Math.min(micros, open.micros + leastBalance(model, payers)))
      const isEnough = most >= Math.min(micros, leastMicros)
      if (isEnough) open.micros = most
      const both = await Promise.all([1, 2].map(() => store.raise(open.id, micros, leastMicros)))
      const wanted = isEnough ? { micros: most, balanceMicros: leastBalance(model, payers) } : undefined
      const seen = both.map((hold) => hold && { micros: hold.micros, balanceMicros: hold.balanceMicros })
      expect('raised', seen, [wanted, wanted])
    },
  )

const mark = (seed: number, leastMicros: number): Step =>
  step(
    `mark(${seed}, ${leastMicros})`,
    ({ holds }) => holds.length > 0,
    async ({ holds }, { store }) => {
      const open = pick(holds, seed)
      const least = Math.min(leastMicros, open.micros)
      store.markAnswered(open.id, least, usageOf(open.accounts[0], least))
      // Only the first mark of a hold counts.
      open.leastMicros ??= least
    },
  )

const settle = (seed: number, costMicros: number): Step =>
  step(
    `settle(${seed}, ${costMicros})`,
    ({ holds }) => holds.length > 0,
    async (model, { store }) => {
      const open = pick(model.holds, seed)
      const payers = payersOf(model, open.accounts)
      const chargedMicros = Math.min(costMicros, open.micros + leastBalance(model, payers))
      model.holds = model.holds.filter(({ id }) => id !== open.id)
      for (const token of payers) token.charged += chargedMicros
      const wanted = { chargedMicros, balanceMicros: leastBalance(model, payers) }
      const row = usageOf(open.accounts[0], costMicros)
      const both = await Promise.all([store.settle(open.id, row), store.settle(open.id, row)])
      expect('settlements', both, [wanted, wanted])
    },
  )

const adjust = (seed: number, micros: number): Step =>
  step(`adjust(${seed}, ${micros})`, hasToken, async (model, { store }) => {
    const payers = pickPayers(model, seed)
    const change = { operationId: randomUUID(), accounts: accountsOf(payers), micros }
    const isCovered = leastBalance(model, payers) >= -micros
    const asked = await Promise.allSettled([1, 2].map(() => store.adjust({ ...change, at: Date.now() })))
    const made = asked.map((one) => (one.status === 'fulfilled' ? 'made' : Reflect.get(one.reason, 'code')))
    expect('adjustments', made, Array(2).fill(isCovered ? 'made' : 'balance_too_small'))
    if (!isCovered) return
    for (const token of payers) token.credited += micros
    model.operations.push(change)
  })

const repeat = (seed: number): Step =>
  step(
    `repeat(${seed})`,
    ({ operations }) => operations.length > 0,
    async ({ operations }, { store }) => {
      const change = pick(operations, seed)
      expect('repeated', (await store.adjust({ ...change, at: Date.now() }))?.id, change.accounts[0])
    },
  )

const rotate = (seed: number): Step =>
  step(`rotate(${seed})`, hasToken, async ({ tokens }, { store }) => {
    const token = pick(tokens, seed)
    const secret = makeSecret()
    const at = Date.now()
    const next = { hash: hashSecret(secret), prefix: prefixOf(secret), at, previousUntil: at + 60_000 }
    await store.rotate({ tokenId: token.id, ...next })
    expect('old secret', (await store.find(token.hash))?.id, token.id)
    token.hash = next.hash
  })

const toggle = (seed: number): Step =>
  step(`toggle(${seed})`, hasToken, async ({ tokens }, { store }) => {
    const token = pick(tokens, seed)
    token.isDisabled = !token.isDisabled
    if (token.isDisabled) await store.disable(token.id, Date.now())
    else await store.enable(token.id)
  })

/** Holds whose answer has begun cost their least, all others nothing. */
const reopen = (): Step =>
  step(
    'reopen',
    () => true,
    async (model, real) => {
      const open = model.holds
      model.holds = []
      for (const { accounts, leastMicros = 0 } of open) {
        const payers = payersOf(model, accounts)
        const charged = Math.min(leastMicros, ...payers.map((token) => token.credited - token.charged))
        for (const token of payers) token.charged += charged
      }
      real.store = await real.reopen()
    },
  )

const [seed, micros] = [fc.nat(1000), fc.nat(400)]
const STEPS = [
  micros.map(mint),
  fc.tuple(seed, micros, fc.nat(60)).map(([at, most, least]) => hold(at, most, least)),
  fc.tuple(seed, micros, micros).map(([at, most, least]) => raise(at, most, least)),
  fc.tuple(seed, micros).map(([at, least]) => mark(at, least)),
  fc.tuple(seed, micros).map(([at, cost]) => settle(at, cost)),
  fc.tuple(seed, fc.integer({ min: -300, max: 300 })).map(([at, by]) => adjust(at, by === 0 ? 1 : by)),
  seed.map(repeat),
  seed.map(rotate),
  seed.map(toggle),
  fc.constant(0).map(reopen),
]

export interface Histories {
  runs: number
  /** Steps of one history, at most. */
  steps: number
}

/** Random histories of the whole contract against a model of it; `open` as for `accountsContract`. */
export function tokenHistories(
  name: string,
  open: (test: Owner) => Promise<OpenedStore>,
  { runs, steps }: Histories,
): void {
  t.test(
    `${name}: ${runs} random histories, and after every step the store is what the model says`,
    async (test) => {
      const history = fc.asyncProperty(
        fc.commands(STEPS, { maxCommands: steps, size: 'max' }),
        async (commands) => {
          const closing: (() => unknown)[] = []
          const opened = await open({ teardown: (close) => closing.push(close) })
          const setup = () => ({
            model: { tokens: [], holds: [], operations: [] } satisfies Model,
            real: { store: opened.store, reopen: opened.reopen },
          })
          try {
            await fc.asyncModelRun(setup, commands)
          } finally {
            for (const close of closing.reverse()) await close()
          }
        },
      )
      await fc.assert(history, { numRuns: runs, endOnFailure: true })
      test.pass(`${runs} histories`)
    },
  )
}
