import t from 'tap'
import { crowd } from './crowd.ts'
import { crowdedFolder } from './neighbours.ts'
import { openOneGateway } from './one-gateway.ts'

const TIMEOUT_MS = 300_000
t.setTimeout(TIMEOUT_MS)

const one = await openOneGateway(t)

t.test(
  'of 1,000 requests at once on a balance for 100 exactly 100 pass, and the balance is 0',
  async (test) => {
    const { faults, figures } = await crowd({
      gateways: [one.gateway],
      requests: 1000,
      rounds: 2,
      mint: one.mint,
    })
    test.comment(figures)
    test.same(faults, [])
  },
)

t.test(
  'a token command in a loop and second servers beside a loaded one: nothing is lost',
  { timeout: TIMEOUT_MS },
  async (test) => {
    const { faults, figures } = await crowdedFolder(test, one, { commands: 5 })
    test.comment(figures)
    test.same(faults, [])
  },
)
