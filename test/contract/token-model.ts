import type fc from 'fast-check'
import type { AccountList } from '../../src/stores/contracts/accounts.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'

interface ModelHold {
  id: number
  accounts: AccountList
  micros: number
  /** What a store that opens again charges for it; undefined: its answer has not begun. */
  leastMicros?: number
}

interface ModelToken {
  id: string
  hash: string
  credited: number
  charged: number
  isDisabled: boolean
}

/** The whole contract in a few lines: what every store must agree with after every step. */
export interface Model {
  tokens: ModelToken[]
  holds: ModelHold[]
  operations: { operationId: string; accounts: AccountList; micros: number }[]
}

export interface Real {
  store: TokenStore
  reopen(): Promise<TokenStore>
}

export type Step = fc.AsyncCommand<Model, Real>

export const pick = <T>(list: readonly T[], seed: number): T => list[seed % list.length] as T
export const heldOf = ({ holds }: Model, tokenId: string): ModelHold[] =>
  holds.filter(({ accounts }) => accounts.includes(tokenId))
const sumOf = (holds: readonly ModelHold[]): number => holds.reduce((sum, { micros }) => sum + micros, 0)
export const balanceOf = (model: Model, { id, credited, charged }: ModelToken): number =>
  credited - charged - sumOf(heldOf(model, id))

/** One token, or two: who pays together. */
export const pickPayers = ({ tokens }: Model, seed: number): ModelToken[] => {
  const [own, other] = [pick(tokens, seed), pick(tokens, Math.floor(seed / 7))]
  return seed % 3 === 0 && own !== other ? [own, other] : [own]
}
export const payersOf = ({ tokens }: Model, accounts: AccountList): ModelToken[] =>
  accounts.flatMap((id) => tokens.find((token) => token.id === id) ?? [])
export const accountsOf = ([own, ...further]: readonly ModelToken[]): AccountList => [
  own?.id ?? '',
  ...further.map(({ id }) => id),
]
export const leastBalance = (model: Model, payers: readonly ModelToken[]): number =>
  Math.min(...payers.map((token) => balanceOf(model, token)))

export function expect(what: string, seen: unknown, wanted: unknown): void {
  const [left, right] = [JSON.stringify(seen), JSON.stringify(wanted)]
  if (left !== right) throw new Error(`${what}: ${left} instead of ${right}`)
}

async function checkAll(model: Model, { store }: Real): Promise<void> {
  for (const token of model.tokens) {
    const heldMicros = sumOf(heldOf(model, token.id))
    const { creditedMicros, balanceMicros, heldMicros: held, chargedMicros } = await store.credits(token.id)
    const wanted = [token.credited, balanceOf(model, token), heldMicros, token.charged]
    expect('credits', [creditedMicros, balanceMicros, held, chargedMicros], wanted)
    if (Math.min(...wanted) < 0) throw new Error(`below zero: ${wanted}`)
    const found = await store.find(token.hash)
    expect('token', [found?.id, found?.disabledAt !== undefined], [token.id, token.isDisabled])
  }
}

export const step = (
  name: string,
  needs: (model: Model) => boolean,
  act: (model: Model, real: Real) => Promise<void>,
): Step => ({
  check: needs,
  run: async (model, real) => {
    await act(model, real)
    await checkAll(model, real)
  },
  toString: () => name,
})
