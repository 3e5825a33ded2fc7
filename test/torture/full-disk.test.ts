import t from 'tap'
import { canMount, fillAgainAndAgain } from './full-disk.ts'

t.setTimeout(300_000)

t.test(
  'a disk that is full at any write: no crash, no false word, and it recovers with the room',
  { timeout: 300_000 },
  async (test) => {
    if (!canMount()) return test.comment('left out: needs the right to mount a tmpfs (root)')
    const { faults, figures } = await fillAgainAndAgain(40, () => undefined)
    test.comment(figures)
    test.same(faults, [])
  },
)
