import t from 'tap'
import { cutAgainAndAgain, cutStockAdapter, openDisk } from './power-cut.ts'

const TIMEOUT_MS = 300_000
t.setTimeout(TIMEOUT_MS)

const disk = openDisk()
if (typeof disk === 'string') t.comment(`power cut left out: ${disk}`)
else {
  t.teardown(() => disk.remove())

  t.test(
    'after power cuts every acknowledged mint is there, and charges but for the last second',
    async (test) => {
      const { faults, figures } = await cutAgainAndAgain(disk, 5, () => undefined)
      test.comment(figures)
      test.same(faults, [])
    },
  )

  t.test(
    "lowdb's own adapter loses acknowledged writes in the same test",
    { timeout: TIMEOUT_MS },
    async (test) => {
      const { lost, acknowledged } = await cutStockAdapter(disk, 2)
      test.comment(`${lost} of ${acknowledged} lost`)
      test.ok(lost > 0)
    },
  )
}
