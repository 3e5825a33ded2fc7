// The victim of kills and power cuts: works on the store in its folder as fast as it can, and says what was acknowledged.
import { randomUUID } from 'node:crypto'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { ADD, BEGIN, CHARGE, TAKE } from './acknowledged.ts'

const { tokens } = await openStores({ dbDir: process.argv[2] ?? '' })
const say = (what: string, id: string, requestId = '-') =>
  process.stdout.write(`${what} ${id} ${Date.now()} ${requestId}\n`)

const spend = async (tokenId: string) => {
  for (;;) {
    const hold = await tokens.hold({
      accounts: [tokenId],
      requestId: randomUUID(),
      micros: 2,
      leastMicros: 2,
    })
    if (hold === undefined) return
    const row = usageOf(tokenId, CHARGE)
    tokens.markAnswered(hold.id, 2, row)
    await tokens.raise(hold.id, 10)
    // An answer takes its time: settled in the same turn, the mark would never be written.
    await new Promise((resolve) => setImmediate(resolve))
    await tokens.settle(hold.id, row)
    say('charged', tokenId, row.requestId)
  }
}

const adjust = async (tokenId: string) => {
  for (let micros = ADD; ; micros = micros === ADD ? -TAKE : ADD) {
    await tokens.adjust({ operationId: randomUUID(), accounts: [tokenId], micros, at: Date.now() })
    say(micros === ADD ? 'added' : 'took', tokenId)
  }
}

for (let count = 0; ; count++) {
  const { id } = await tokens.mint(newToken(BEGIN))
  say('minted', id)
  void spend(id)
  if (count < 3) void adjust(id)
}
