import t from 'tap'
import { failAtEveryCall, hasStrace } from './io-faults.ts'

const TIMEOUT_MS = 300_000
t.setTimeout(TIMEOUT_MS)

t.test(
  'whichever call of the file driver fails: no crash, no false word, and it recovers',
  { timeout: TIMEOUT_MS },
  async (test) => {
    if (!hasStrace())
      return test.comment('left out: needs the command strace (package strace) and the right to trace')
    const { faults, figures } = await failAtEveryCall({ stride: 23 })
    test.comment(figures)
    test.same(faults, [])
  },
)
