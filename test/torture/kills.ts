import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findLosses, note, nothingYet } from './acknowledged.ts'
import { killedVictim } from './victim.ts'

/** After so many lives a store has grown so large that starting it takes longer than working on it. */
const LIVES_OF_A_STORE = 50

export interface Findings {
  faults: string[]
  figures: string
}

/** Kills a process at work on a store, again and again: what was acknowledged and is gone, or not as it should be. */
export async function killAgainAndAgain(cycles: number, progress: (done: number) => void): Promise<Findings> {
  const faults: string[] = []
  let [minted, charged] = [0, 0]
  for (let done = 0; done < cycles; done += LIVES_OF_A_STORE) {
    const dbDir = await mkdtemp(join(tmpdir(), 'gateway-kills-'))
    const all = nothingYet()
    for (let cycle = done; cycle < Math.min(cycles, done + LIVES_OF_A_STORE); cycle++) {
      const { lines } = await killedVictim('writer.ts', dbDir, { lines: 20 + (cycle % 20) * 15 })
      if (lines.length === 0) faults.push(`cycle ${cycle}: the store could not be opened`)
      note(all, lines)
      charged += lines.filter((line) => line.startsWith('charged')).length
      progress(cycle + 1)
    }
    faults.push(...(await findLosses(dbDir, all)))
    minted += all.minted.size
    await rm(dbDir, { recursive: true })
  }
  return { faults, figures: `${cycles} kills, ${minted} acknowledged mints, ${charged} acknowledged charges` }
}
