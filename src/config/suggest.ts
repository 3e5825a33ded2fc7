import { countEdits } from './edits.js'

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
