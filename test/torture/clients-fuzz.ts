import { randomInt } from 'node:crypto'
import { openFuzzScene, playAll, range } from '../fuzz/scene.ts'
import { clientsOf, descriptorsOf, residentMiB } from '../support/descriptors.ts'
import { waitUntil } from '../support/journey.ts'
import type { Owner } from '../support/waiting.ts'
import type { Findings } from './kills.ts'

const CASES = 20_000
const MOST_GROWTH_MIB = 200

/** The fuzzer with seeds that nobody has seen: each fault names the seed and the case that play it again. */
export async function fuzzClients(
  t: Owner,
  rounds: number,
  progress: (done: number) => void,
): Promise<Findings> {
  const scene = await openFuzzScene(t)
  const { gateway } = scene
  const descriptors = descriptorsOf(gateway)
  const faults: string[] = []
  let exit: string | undefined
  void gateway.exited.then(({ code, signal }) => {
    exit = `the gateway ended: ${code ?? signal}`
  })
  let warmMiB = 0
  for (let round = 0; round < rounds && exit === undefined; round += 1) {
    const seed = randomInt(2 ** 31)
    for (const { index, what, bytes } of await playAll(scene, seed, range(0, CASES)))
      faults.push(`FUZZ_SEED=${seed} FUZZ_ONLY=${index}: ${what}: ${bytes}`)
    warmMiB ||= residentMiB(gateway)
    progress(round + 1)
  }
  if (exit !== undefined) return { faults: [...faults, exit], figures: 'it did not last' }
  await waitUntil(
    () => clientsOf(gateway),
    (now) => now === 0,
  )
  const left = await waitUntil(
    () => descriptorsOf(gateway) - descriptors,
    (now) => now <= 10,
  )
  const grownMiB = Math.round(residentMiB(gateway) - warmMiB)
  if (grownMiB > MOST_GROWTH_MIB) faults.push(`the memory grew by ${grownMiB} MiB after the first round`)
  const bad = gateway
    .lines()
    .filter(({ level, status }) => level === 'error' || level === 'fatal' || Number(status) >= 500)
  faults.push(...bad.map((line) => `logged: ${JSON.stringify(line)}`))
  return { faults, figures: `${rounds * CASES} odd clients, ${left} descriptors and ${grownMiB} MiB more` }
}
