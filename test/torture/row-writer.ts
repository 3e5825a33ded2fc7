import { setTimeout as wait } from 'node:timers/promises'
import { openStores } from '../../src/stores/open.ts'
import { serviceRowOf } from '../support/service-rows.ts'

// Notes rows of services in the folder it is told, a few at a time, and says which and when, until it is killed.

const { tokens } = await openStores({ dbDir: process.argv[2] ?? '' })
for (let n = 0; ; n += 3) {
  for (const requestId of [`req_${n}`, `req_${n + 1}`, `req_${n + 2}`]) {
    const at = Date.now()
    tokens.note(serviceRowOf(requestId, { at }))
    process.stdout.write(`${JSON.stringify({ requestId, at })}\n`)
  }
  await wait(20)
}
