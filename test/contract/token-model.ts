import type fc from 'fast-check'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'

interface ModelHold {
  id: number
  tokenId: string
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
  operations: { operationId: string; tokenId: string; micros: number }[]
}

export interface Real {
  store: TokenStore
  reopen(): Promise<TokenStore>
}

export type Step = fc.AsyncCommand<Model, Real>

export const pick = <T>(list: readonly T[], seed: number): T => list[seed % list.length] as T
export const heldOf = ({ holds }: Model, tokenId: string): ModelHold[] =>
  holds.filter((hold) => hold.tokenId === tokenId)
const sumOf = (holds: readonly ModelHold[]): number => holds.reduce((sum, { micros }) => sum + micros, 0)
export const balanceOf = (model: Model, { id, credited, charged }: ModelToken): number =>
  credited - charged - sumOf(heldOf(model, id))

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
