import t from 'tap'
import { Deadlines } from '../src/deadlines.ts'

/** Resolves when a deadline of so many milliseconds has run out: all that were due before it have happened. */
const passed = (deadlines: Deadlines, ms: number): Promise<void> =>
  new Promise((resolve) => {
    // Deadlines keep no process alive.
    const alive = setInterval(() => undefined, 1000)
    const end = (): void => {
      clearInterval(alive)
      resolve()
    }
    deadlines.open(end).start(ms)
  })

t.test('what is due happens once, and not early', async (test) => {
  const deadlines = new Deadlines()
  const from = performance.now()
  const afterMs: number[] = []
  deadlines.open(() => afterMs.push(performance.now() - from)).start(120)
  await passed(deadlines, 200)
  await passed(deadlines, 200)
  test.equal(afterMs.length, 1)
  test.ok((afterMs[0] ?? 0) >= 120, `${afterMs[0]} ms`)
})

t.test(
  'one that is stopped never happens, one that begins again waits again, whatever the others do',
  async (test) => {
    const deadlines = new Deadlines()
    const happened: number[] = []
    let early: number[] = []
    const all = Array.from({ length: 30 }, (_, index) => deadlines.open(() => happened.push(index)))
    const beginAgain = (): void => {
      for (const [index, one] of all.entries()) if (index % 3 === 1) one.again()
    }
    deadlines.open(beginAgain).start(75)
    for (const one of all) one.start(150)
    for (const [index, one] of all.entries()) if (index % 3 === 0) one.stop()
    all[0]?.stop()
    deadlines.open(() => (early = happened.toSorted((a, b) => a - b))).start(160)
    await passed(deadlines, 170)
    await passed(deadlines, 300)
    test.same(early, [2, 5, 8, 11, 14, 17, 20, 23, 26, 29])
    test.equal(happened.length, 20, 'those that began again, in the end, once each')
  },
)

t.test('one may be due earlier or later than it was begun for, as of its beginning', async (test) => {
  const deadlines = new Deadlines()
  const happened: string[] = []
  const [soon, late, over] = ['soon', 'late', 'over'].map((name) => deadlines.open(() => happened.push(name)))
  soon?.start(60_000)
  late?.start(60)
  over?.start(60_000)
  over?.stop()
  soon?.reach(60)
  late?.reach(60_000)
  over?.reach(60)
  await passed(deadlines, 250)
  test.same(happened, ['soon'])
})

t.test('one may stop another in the moment in which both are due, and begin itself again', async (test) => {
  const deadlines = new Deadlines()
  const happened: string[] = []
  const pair = ['a', 'b'].map((name, index) =>
    deadlines.open(() => {
      happened.push(name)
      pair[1 - index]?.stop()
      if (happened.length === 1) pair[index]?.again()
    }),
  )
  for (const one of pair) one.start(50)
  await passed(deadlines, 60)
  await passed(deadlines, 200)
  const [first] = happened
  test.same(happened, [first, first])
})

t.test('those that are due in the same late moment happen in their order', async (test) => {
  const deadlines = new Deadlines()
  const happened: number[] = []
  const all = Array.from({ length: 20 }, (_, index) => deadlines.open(() => happened.push(index)))
  // Started in no order, and stopped in between, so that their places say nothing.
  for (const index of [7, 3, 12, 0, 19, 5, 16, 9, 1, 14]) all[index]?.start(100 + index * 5)
  all[12]?.stop()
  const until = performance.now() + 400
  while (performance.now() < until);
  await passed(deadlines, 50)
  test.same(happened, [0, 1, 3, 5, 7, 9, 14, 16, 19])
})
