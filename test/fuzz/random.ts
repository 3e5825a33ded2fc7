/** Choices that a seed makes: the same seed, the same choices. */
export interface Dice {
  /** A whole number from 0 up to, but without, `below`. */
  below(below: number): number
  between(least: number, most: number): number
  /** True so often of 100 times. */
  percent(share: number): boolean
  pick<T>(list: readonly T[]): T
  bytes(size: number): Buffer
}

/** Mulberry32: small, fast, and good enough to wander. */
export function rollDice(seed: number, index: number): Dice {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const below = (most: number): number => next() % most
  return {
    below,
    between: (least, most) => least + below(most - least + 1),
    percent: (share) => below(100) < share,
    pick: <T>(list: readonly T[]): T => {
      const found = list[below(list.length)]
      if (found === undefined) throw new Error('nothing to pick from')
      return found
    },
    bytes: (size) => Buffer.from(Array.from({ length: size }, () => below(256))),
  }
}
