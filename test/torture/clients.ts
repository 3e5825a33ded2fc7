import type { Owner } from '../support/waiting.ts'
import { clientsAnswers } from './clients-answers.ts'
import { greedyBodies } from './clients-bodies.ts'
import { fuzzClients } from './clients-fuzz.ts'
import { blockingBodies } from './clients-json.ts'
import type { Findings } from './kills.ts'

type Progress = (name: string) => (done: number) => void

/** Whatever one client can do to the others: each attack beside victims who must be served all the while. */
export async function hostileClients(owner: Owner, progress: Progress): Promise<Findings> {
  const all: [string, Findings][] = [
    ['bodies', await greedyBodies(owner, progress('clients, bodies'))],
    ['json', await blockingBodies(owner, { rounds: 20, mostMs: 300 })],
    ['answers', await clientsAnswers(owner, progress('clients, answers'))],
    ['fuzz', await fuzzClients(owner, 3, progress('clients, fuzz'))],
  ]
  return {
    faults: all.flatMap(([name, { faults }]) => faults.map((fault) => `${name}: ${fault}`)),
    figures: all.map(([name, { figures }]) => `${name}: ${figures}`).join('; '),
  }
}
