// A victim that shares its folder with others like it: one has the files, the rest work through it. Says each step
// before it is begun and after it was acknowledged, and what failed. Leaves as a server does on SIGTERM.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'

/** What each request costs. */
const CHARGE = 3

const stores = await openStores({
  dbDir: process.argv[2] ?? '',
  takeOver: true,
  warn: ({ waitedMs }: { waitedMs?: number }) => {
    if (waitedMs !== undefined) say('taken', String(waitedMs))
  },
})
const { tokens, idempotency, folder } = stores
function say(...words: string[]): void {
  process.stdout.write(`${words.join(' ')}\n`)
}
folder?.onceOwned(() => void folder.letIn().then(() => say('owner')))

let isLeaving = false
const running = new Set<Promise<void>>()

/** One request: a hold, a key, an answer that begins, grows and ends. */
async function request(tokenId: string): Promise<void> {
  const row = usageOf(tokenId, CHARGE)
  const { requestId } = row
  const hold = await tokens.hold({ accounts: [tokenId], requestId, micros: 5, leastMicros: 5 })
  if (hold === undefined) return
  const key = { tokenId, key: requestId, fingerprint: 'a', bodyBytes: 1, requestId, at: Date.now() }
  const claim = await idempotency.claim(key)
  if (claim.state !== 'claimed') throw new Error(`a new key is ${claim.state}`)
  if (Math.random() < 0.7) tokens.markAnswered(hold.id, 2, row)
  await sleep(Math.random() * 30)
  await tokens.raise(hold.id, 10)
  say('settling', tokenId, requestId)
  const { chargedMicros } = await tokens.settle(hold.id, row)
  say('charged', tokenId, requestId, String(chargedMicros))
  await idempotency.finish(claim.id, { status: 200, headers: {}, body: Buffer.from(requestId) })
  say('kept', tokenId, requestId)
}

async function work(tokenId: string): Promise<void> {
  while (!isLeaving) {
    try {
      await request(tokenId)
      if (Math.random() < 0.05) {
        const operationId = randomUUID()
        await tokens.adjust({ operationId, accounts: [tokenId], micros: 7, at: Date.now() })
        say('added', tokenId, operationId)
      }
    } catch (error) {
      say('failed', String(error).replaceAll(/\s+/g, '_'))
      return
    }
  }
}

process.on('SIGTERM', async () => {
  isLeaving = true
  await Promise.all(running)
  await stores.close()
  say('left')
  process.exit(0)
})

const known = (await tokens.list()).map(({ id }) => id)
while (known.length < 3) {
  const { id } = await tokens.mint(newToken(1_000_000, { name: randomUUID() }))
  known.push(id)
}
for (let count = 0; count < 12; count += 1) running.add(work(known[count % known.length] ?? ''))
say('ready')
