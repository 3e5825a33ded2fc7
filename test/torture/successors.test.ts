import t from 'tap'
import { replaceAgainAndAgain } from './successors.ts'

const CYCLES = 60
const TIMEOUT_MS = 300_000

t.setTimeout(TIMEOUT_MS)

t.test(
  `of three servers of one folder one is killed or replaced, ${CYCLES} times: nothing fails, is lost or charged twice`,
  { timeout: TIMEOUT_MS },
  async (test) => {
    const { faults, figures } = await replaceAgainAndAgain(CYCLES, () => undefined)
    test.comment(figures)
    test.same(faults, [])
  },
)
