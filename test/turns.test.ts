import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { createTurns } from '../src/turns.ts'

/** A work of so many steps, which notes each of them. */
const work = (name: string, steps: number, seen: string[]) => {
  let left = steps
  return () => {
    seen.push(name)
    left -= 1
    return left === 0
  }
}

t.test('whoever has ten long works takes every second turn, not ten of eleven', async (t) => {
  const turns = createTurns()
  const seen: string[] = []
  const greedy = Array.from({ length: 10 }, () => turns.run('greedy', work('greedy', 20, seen)))
  await turns.run('victim', work('victim', 20, seen))
  t.ok(seen.length <= 41, `${seen.length} steps until the victim's 20 were done`)
  await Promise.all(greedy)
  t.equal(seen.length, 220)
})

t.test('one step a turn: between two of them the event loop serves others', async (t) => {
  const turns = createTurns()
  const seen: string[] = []
  let isOver = false
  const watch = async () => {
    while (!isOver) {
      await nextTurn()
      seen.push('turn')
    }
  }
  const watching = watch()
  await Promise.all([turns.run('a', work('a', 5, seen)), turns.run('b', work('b', 5, seen))])
  isOver = true
  await watching
  t.notMatch(seen.join(), /[ab],[ab]/)
})

t.test('a step that throws ends its own work alone', async (t) => {
  const turns = createTurns()
  const seen: string[] = []
  const broken = turns.run('a', () => {
    throw new Error('no JSON')
  })
  const fine = [turns.run('a', work('a', 3, seen)), turns.run('b', work('b', 3, seen))]
  await t.rejects(broken, { message: 'no JSON' })
  await Promise.all(fine)
  t.equal(seen.length, 6)
  await turns.run('a', work('again', 1, seen))
  t.equal(seen.at(-1), 'again', 'it begins anew when there was nothing to do')
})
