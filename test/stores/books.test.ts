import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import type { Hold } from '../../src/stores/contracts/accounts.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { askOf, crashedCopy, folder } from './folders.ts'

interface Model {
  credited: Map<string, number>
  holds: Hold[]
}

const pick = <T>(list: readonly T[], seed: number): T | undefined => list[seed % list.length]
const OPERATIONS = [
  'mint',
  'hold',
  'hold',
  'hold',
  'settle',
  'settle',
  'raise',
  'mark',
  'crash',
  'reopen',
] as const

async function checkBooks(store: TokenStore, { credited }: Model): Promise<void> {
  for (const [id, micros] of credited) {
    const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = await store.credits(id)
    const isWhole = creditedMicros === micros && micros === balanceMicros + heldMicros + chargedMicros
    if (!isWhole || Math.min(balanceMicros, heldMicros, chargedMicros) < 0)
      throw new Error(`${creditedMicros} <> ${balanceMicros} + ${heldMicros} + ${chargedMicros}`)
  }
}

const isOver = (error: Error) => {
  if (Reflect.get(error, 'code') !== 'store_unavailable') throw error
}

t.test(
  'whatever happens in whatever order: credited = balance + held + charged, none negative',
  async (test) => {
    const root = await folder(test)
    const step = fc.record({
      operation: fc.constantFrom(...OPERATIONS),
      seed: fc.nat(1000),
      micros: fc.nat(400),
    })
    const run = async (steps: { operation: string; seed: number; micros: number }[]) => {
      let dbDir = join(root, randomUUID())
      let store = (await openStores({ dbDir })).tokens
      const model: Model = { credited: new Map(), holds: [] }
      try {
        for (const { operation, seed, micros } of steps) {
          const tokenId = pick([...model.credited.keys()], seed)
          const hold = pick(model.holds, seed)
          if (operation === 'mint') model.credited.set((await store.mint(newToken(micros))).id, micros)
          if (operation === 'hold' && tokenId !== undefined) {
            const made = await store.hold({ ...askOf(tokenId, micros), leastMicros: seed % 50 })
            if (made !== undefined) model.holds.push(made)
          }
          if (operation === 'mark' && hold !== undefined)
            store.markAnswered(hold.id, micros, usageOf(hold.accounts[0], micros))
          // One that is over, or that died with its process, is not raised.
          if (operation === 'raise' && hold !== undefined)
            await store.raise(hold.id, micros, seed % 50).catch(isOver)
          // An ended hold stays in the list: some are settled twice.
          if (operation === 'settle' && hold !== undefined)
            await store.settle(hold.id, usageOf(hold.accounts[0], micros))
          if (operation === 'crash' || operation === 'reopen') {
            const to = operation === 'crash' ? crashedCopy(dbDir, join(root, randomUUID())) : dbDir
            await store.close()
            dbDir = to
            store = (await openStores({ dbDir })).tokens
            model.holds = []
          }
          await checkBooks(store, model)
        }
      } finally {
        await store.close()
        await rm(dbDir, { recursive: true })
      }
    }
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), run), { numRuns: 60 })
    test.pass('60 random histories')
  },
)
