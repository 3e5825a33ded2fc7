// The negative control of the power cut: the same work over lowdb's own adapter, which acknowledges without a sync.
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { JSONFilePreset } from 'lowdb/node'

const db = await JSONFilePreset<{ tokens: string[] }>(join(process.argv[2] ?? '', 'tokens.json'), {
  tokens: [],
})
for (;;) {
  const id = randomUUID()
  await db.update(({ tokens }) => tokens.push(id))
  process.stdout.write(`${id}\n`)
}
