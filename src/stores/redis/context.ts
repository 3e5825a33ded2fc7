import type { AccountList } from '../contracts/accounts.ts'
import type { Keys } from './keys.ts'
import type { Link } from './link.ts'
import type { Scripts } from './scripts.ts'

/** What every part of the driver works with. */
export interface Context {
  link: Link
  scripts: Scripts
  keys: Keys
  /** This replica, from its start to its end. */
  owner: string
  /** How many usage rows wait for a database that is down; then the oldest are dropped. */
  mostRows: number
}

/** A hold by name, whoever has made it. */
export interface HoldName {
  owner: string
  hold: string
  accounts: AccountList
}

/** How a hold ends: its own settlement, its owner's death, or never used at all. */
export type EndMode = 'settle' | 'reap' | 'cancel'

export interface End {
  requestId: string
  costMicros: number
  /** The usage row as JSON; empty: none is written. */
  row: string
  mode: EndMode
  /** How long an owner to be reaped must have been silent, by the clock of Redis; 0: it is this replica itself. */
  deadAfterMs?: number
}

/** A hold that was never used. */
export const CANCELLED: End = { requestId: '', costMicros: 0, row: '', mode: 'cancel' }

/** Ends a hold in one step; the same end twice changes nothing. */
export async function endHold({ link, scripts, keys, mostRows }: Context, name: HoldName, end: End) {
  const { owner, hold, accounts } = name
  const [own] = accounts
  const charged = keys.charged(own, end.requestId)
  const touched = [
    keys.account(own),
    keys.holds(owner),
    keys.ended(owner, hold),
    keys.usage,
    keys.meta,
    charged,
    keys.replicas,
    ...furtherAccounts(keys, accounts),
  ]
  const everName = `${owner}:${hold}`
  const args = [hold, everName, end.costMicros, end.row, end.mode, mostRows, owner, end.deadAfterMs ?? 0]
  const [chargedMicros = 0, balanceMicros = 0] = readNumbers(await link.run(scripts.settle, touched, args))
  return { chargedMicros, balanceMicros }
}

/** The keys of all but the token's own account, which scripts have behind their other keys. */
export function furtherAccounts(keys: Keys, [, ...further]: AccountList): string[] {
  return further.map(keys.account)
}

/** A script's answer, narrowed. */
export function readNumbers(answer: unknown): number[] {
  return Array.isArray(answer) ? answer.map(Number) : []
}
