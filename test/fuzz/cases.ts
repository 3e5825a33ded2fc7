import { mutateBytes, mutateDraft } from './mutations.ts'
import { type Dice, rollDice } from './random.ts'
import { draftRequest, type Target, writeRequest } from './requests.ts'

/** How a client ends its connection: its side alone, all of it, or by a reset. */
export type Ending = 'half-close' | 'close' | 'reset'

/** What one client sends, and when it goes. */
export interface FuzzCase {
  /** Each is written when the one before has left. */
  writes: readonly Buffer[]
  ending: Ending
  /** Between the last byte and the end. */
  lingerMs: number
  /** A request that nobody touched: it must be answered. */
  isWhole: boolean
}

const SMALL_STEPS = 12

/** The same seed and index make the same case for the same token. */
export function makeCase(seed: number, index: number, target: Target): FuzzCase {
  const dice = rollDice(seed, index)
  const requests = Array.from({ length: dice.percent(12) ? dice.between(2, 4) : 1 }, () =>
    makeRequest(dice, target),
  )
  let bytes = Buffer.concat(requests.map(({ written }) => written))
  const isWhole = requests.length === 1 && requests.every(({ isTouched }) => !isTouched)
  const ending = isWhole || dice.percent(80) ? 'half-close' : dice.pick<Ending>(['close', 'reset'])
  const isCut = !isWhole && dice.percent(6)
  if (isCut) bytes = bytes.subarray(0, dice.below(bytes.length + 1))
  return { writes: split(dice, bytes), ending, lingerMs: dice.percent(80) ? 0 : dice.between(1, 10), isWhole }
}

function makeRequest(dice: Dice, target: Target): { written: Buffer; isTouched: boolean } {
  let draft = draftRequest(dice, target)
  const [inDraft, inBytes] = dice.pick([
    [0, 0],
    [1, 0],
    [1, 0],
    [2, 0],
    [3, 1],
    [0, 1],
    [0, 2],
    [1, 1],
  ])
  for (let done = 0; done < inDraft; done += 1) draft = mutateDraft(dice, draft)
  let written = writeRequest(dice, draft)
  for (let done = 0; done < inBytes; done += 1) written = mutateBytes(dice, written)
  return { written, isTouched: inDraft + inBytes > 0 }
}

function split(dice: Dice, bytes: Buffer): Buffer[] {
  if (dice.percent(60) || bytes.length < 2) return [bytes]
  const points = Array.from({ length: dice.between(1, SMALL_STEPS) }, () => dice.below(bytes.length))
  const sorted = [...new Set([0, ...points])].sort((a, b) => a - b)
  return sorted.map((from, index) => bytes.subarray(from, sorted[index + 1] ?? bytes.length))
}
