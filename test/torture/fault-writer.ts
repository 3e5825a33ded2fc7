// The victim of io-faults.ts: does one of everything while calls fail, says what was acknowledged, and must recover.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { openStores, StoreError, type Stores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { ADD, BEGIN, CHARGE } from './acknowledged.ts'

const TRIES = 60
const say = (what: string, id = '-') => process.stdout.write(`${what} ${id}\n`)

/** A refusal is no fault: the server would end with exit code 78 and be started again. */
async function open(): Promise<Stores> {
  for (;;) {
    try {
      return await openStores({ dbDir: process.argv[2] ?? '' })
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      say(`refused-${error.reason}`)
      await wait(20)
    }
  }
}

// Everything is loaded, also what is imported late: from here on calls may fail.
await import('../../src/stores/open-files.ts')
say('loaded')
await once(process.stdin, 'data')
const { tokens } = await open()

async function work(): Promise<boolean> {
  const { id } = await tokens.mint(newToken(BEGIN))
  say('minted', id)
  await tokens.adjust({ operationId: randomUUID(), accounts: [id], micros: ADD, at: Date.now() })
  say('added', id)
  const hold = await tokens.hold({ accounts: [id], requestId: randomUUID(), micros: 2, leastMicros: 2 })
  if (hold === undefined) throw new Error('a hold was refused for want of credits')
  const row = usageOf(id, CHARGE)
  tokens.markAnswered(hold.id, 2, row)
  if ((await tokens.raise(hold.id, 10)) === undefined)
    throw new Error('a raise was refused for want of credits')
  await new Promise((resolve) => setImmediate(resolve))
  await tokens.settle(hold.id, row)
  say('charged', id)
  return tokens.isReady()
}

let well = 0
for (let tries = 0; tries < TRIES && well < 4; tries++) {
  try {
    well = (await work()) ? well + 1 : 0
    // The sync of the charges comes a quarter of a second after them.
    await wait(well === 2 ? 350 : 0)
  } catch (error) {
    well = 0
    say(`refused-${Reflect.get(error as Error, 'code') ?? String(error)}`)
    await wait(100)
  }
}
say(well === 4 ? 'recovered' : 'stuck')
await tokens.close()
