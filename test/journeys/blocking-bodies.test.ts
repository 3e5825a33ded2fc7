import t from 'tap'
import { blockingBodies } from '../torture/clients-json.ts'

t.test('no body of one client keeps another waiting', async (t) => {
  const { faults, figures } = await blockingBodies(t, { rounds: 1, mostMs: 500 })
  t.same(faults, [], figures)
})
