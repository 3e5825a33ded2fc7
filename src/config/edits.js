// @ts-check
// Plain JavaScript without packages: an older Node reads it, too.

/**
 * How many letters are to be changed, added or dropped to make one text of another.
 * @param {string} from
 * @param {string} to
 */
export function countEdits(from, to) {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1]
    for (let j = 0; j < to.length; j += 1) {
      const changed = (row[j] ?? 0) + (letter === to[j] ? 0 : 1)
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
