import t from 'tap'
import { storm } from './storm.ts'

const TIMEOUT_MS = 300_000
t.setTimeout(TIMEOUT_MS)

t.test(
  'providers that fail in random ways for ten seconds: who is well answers, and what is delivered is charged',
  { timeout: TIMEOUT_MS },
  async (test) => {
    const { faults, figures } = await storm(test, { seconds: 10 })
    test.comment(figures)
    test.same(faults, [])
  },
)
