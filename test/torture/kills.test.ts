import t from 'tap'
import { killAgainAndAgain } from './kills.ts'

const CYCLES = 60
const TIMEOUT_MS = 300_000

t.setTimeout(TIMEOUT_MS)

t.test(
  `after ${CYCLES} kill -9 all that was acknowledged is there, and no hold is left`,
  { timeout: TIMEOUT_MS },
  async (test) => {
    const { faults, figures } = await killAgainAndAgain(CYCLES, () => undefined)
    test.comment(figures)
    test.same(faults, [])
  },
)
