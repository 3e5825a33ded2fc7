// The victim of crash.test.ts: works on the store in DB_DIR as fast as it can, and says what was acknowledged.
import { randomUUID } from 'node:crypto'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'

const { tokens } = await openStores({ dbDir: process.argv[2] ?? '' })
const say = (line: string) => process.stdout.write(`${line}\n`)

const spend = async (tokenId: string) => {
  for (;;) {
    const hold = await tokens.hold({ tokenId, requestId: randomUUID(), micros: 10, leastMicros: 10 })
    if (hold === undefined) return
    const row = usageOf(tokenId, 3)
    tokens.markAnswered(hold.id, 2, row)
    // An answer takes its time: settled in the same turn, the mark would never be written.
    await new Promise((resolve) => setImmediate(resolve))
    await tokens.settle(hold.id, row)
    say(`charged ${tokenId}`)
  }
}

for (;;) {
  const { id } = await tokens.mint(newToken(1_000_000))
  say(`minted ${id}`)
  void spend(id)
}
