/** A name that was probably meant, for a text such as ` (did you mean "price"?)`; empty when none is near. */
export function suggest(word: string, names: Iterable<string>): string {
  const near = [...names].map((name) => ({
    name,
    distance: countEdits(word.slice(0, 64), name.slice(0, 64)),
  }))
  const best = near.sort((a, b) => a.distance - b.distance)[0]
  const isNear = best && best.distance <= Math.max(2, word.length / 3) && best.distance < word.length / 2
  return isNear ? ` (did you mean "${best.name}"?)` : ''
}

function countEdits(from: string, to: string): number {
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
