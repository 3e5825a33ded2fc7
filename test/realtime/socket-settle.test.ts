import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { StepQueue, settleReservation } from '../../src/realtime/socket-settle.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { askOf, folder, openIn } from '../stores/folders.ts'
import { waitUntil } from '../support/journey.ts'

// The pause before a charge is tried again keeps no process alive; a server's sockets do.
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

/** As many charges as the ledger lets wait for the disk. */
const MOST_KEPT = 10_000

t.test('a charge that the store has no room for is made once it has', async (t) => {
  const dbDir = await folder(t)
  const store = await openIn(t, dbDir)
  const { id } = await store.mint(newToken(1_000))
  const hold = await store.hold(askOf(id, 100))
  const filling = await Promise.all(Array.from({ length: MOST_KEPT }, () => store.hold(askOf(id, 0))))
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  t.teardown(() => db.isOpen && db.close())
  db.exec('BEGIN IMMEDIATE')
  const waiting = filling.map((each) => store.settle(each?.id ?? 0, usageOf(id, 0)))
  await waitUntil(
    () => store.isReady(),
    (isReady) => !isReady,
  )
  await t.rejects(store.settle(hold?.id ?? 0, usageOf(id, 70)), { code: 'store_unavailable' })
  const charge = settleReservation(store, hold, usageOf(id, 70))
  db.close()
  t.same(await charge, { chargedMicros: 70, balanceMicros: 930 })
  await Promise.all(waiting)
  t.match(await store.credits(id), { heldMicros: 0, chargedMicros: 70 })
})

t.test('a step that fails is told, and the next ones have their turn', async (t) => {
  const told: unknown[] = []
  const queue = new StepQueue((error) => told.push(error))
  const done: number[] = []
  void queue.add(async () => {
    throw new Error('first')
  })
  await queue.add(async () => void done.push(2))
  await queue.add(async () => void done.push(3))
  t.match(told, [{ message: 'first' }])
  t.same(done, [2, 3])
  t.notOk(queue.isWorking)
})
