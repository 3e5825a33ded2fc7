import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import { openStores } from '../../src/stores/open.ts'

/** Micro-credits of each token at first, of each charge, top-up and debit. */
export const [BEGIN, CHARGE, ADD, TAKE] = [1_000_000, 3, 7, 2]

/** All that a victim has said was done, over several lives. */
export interface Acknowledged {
  minted: Set<string>
  charged: Map<string, number>
  adjusted: Map<string, number>
  /** How often a life of it was ended while a change of the token ran: it may be there, though nobody was told. */
  lives: number
}

export const nothingYet = (): Acknowledged => ({
  minted: new Set(),
  charged: new Map(),
  adjusted: new Map(),
  lives: 0,
})

const add = (sums: Map<string, number>, id: string, micros: number) =>
  sums.set(id, (sums.get(id) ?? 0) + micros)

/** Adds what one life has said. */
export function note(all: Acknowledged, lines: readonly string[]): void {
  all.lives += 1
  for (const line of lines) {
    const [what, id = ''] = line.split(' ')
    if (what === 'minted') all.minted.add(id)
    if (what === 'charged') add(all.charged, id, CHARGE)
    if (what === 'added') add(all.adjusted, id, ADD)
    if (what === 'took') add(all.adjusted, id, -TAKE)
  }
}

/** Opens the store and compares; what is wrong, one sentence each. */
export async function findLosses(dbDir: string, all: Acknowledged): Promise<string[]> {
  const opened = await openStores({ dbDir }).catch((error: Error) => error.message)
  if (typeof opened === 'string') return [`the store cannot be opened: ${opened}`]
  const { tokens } = opened
  const losses = await lossesOf(tokens, all)
  await tokens.close()
  const left = readdirSync(dbDir).filter((name) => name.includes('.tmp-'))
  return [...losses, ...wrongRows(dbDir), ...left.map((name) => `${name} was left`)]
}

async function lossesOf(
  tokens: TokenStore,
  { minted, charged, adjusted, lives }: Acknowledged,
): Promise<string[]> {
  const losses: string[] = []
  const known = new Set((await tokens.list()).map(({ id }) => id))
  for (const id of minted) if (!known.has(id)) losses.push(`the acknowledged mint of ${id} is gone`)
  for (const id of known) {
    const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = await tokens.credits(id)
    if (chargedMicros < (charged.get(id) ?? 0)) losses.push(`an acknowledged charge of ${id} is gone`)
    if (heldMicros !== 0) losses.push(`a hold of ${id} is left`)
    if (creditedMicros !== balanceMicros + chargedMicros) losses.push(`the books of ${id} are wrong`)
    const beyond = creditedMicros - BEGIN - (adjusted.get(id) ?? 0)
    // One change at a time: only the last one of its life may be there unsaid.
    if (beyond < -TAKE * lives || beyond > ADD * lives) losses.push(`${id} is off by ${beyond}`)
  }
  return losses
}

function wrongRows(dbDir: string): string[] {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  const one = (sql: string) => db.prepare(sql).get()?.n
  const wrong = [
    one("SELECT integrity_check AS n FROM pragma_integrity_check WHERE integrity_check <> 'ok'") !==
      undefined && 'usage.sqlite is damaged',
    one('SELECT count(*) AS n FROM holds') !== 0 && 'a hold is left in usage.sqlite',
    one('SELECT count(*) - count(DISTINCT request_id) AS n FROM usage') !== 0 &&
      'a request was charged twice',
    one('SELECT sum(charged_micros) AS n FROM usage') !==
      one('SELECT sum(charged_micros) AS n FROM accounts') && 'a charge has no row',
  ].filter((text) => text !== false)
  db.close()
  return wrong
}
