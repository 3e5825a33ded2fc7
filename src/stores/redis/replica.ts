import { readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type AccountList, readAccounts } from '../contracts/accounts.ts'
import type { Warn } from '../contracts/store-error.ts'
import type { UsageRow } from '../contracts/usage-columns.ts'
import type { Holds } from './accounts.ts'
import { type Context, type End, endHold } from './context.ts'
import { OTHER_STORE } from './establish.ts'
import type { Retries } from './link.ts'
import { UNSETTLED, type Unsettled } from './unsettled.ts'

/** How many beats a replica may miss before the others take it for dead. */
const BEATS = 6

export interface ReplicaOptions {
  context: Context
  holds: Holds
  retries: Retries
  unsettled: Unsettled
  dbDir: string
  storeId: string
  /** A replica without a beat for so long is dead: what it held is settled at what is known. */
  deadAfterMs: number
  onBeat(rowsLost: number): void
  warn: Warn
}

/** A replica among others: it says that it lives, and ends what dead ones have left. */
export interface Replica {
  /** Makes one beat, outside of the row: throws when Redis is away, or is not the one of this deployment. */
  beat(ask: Context['link']['run']): Promise<void>
  /** Redis answers again. */
  back(): void
  close(): Promise<void>
}

export function openReplica(options: ReplicaOptions): Replica {
  const { context, holds, unsettled, storeId, deadAfterMs } = options
  const { link, scripts, keys, owner } = context
  let inTouchSince = performance.now()
  let dead: readonly string[] = []
  let suspects = new Set<string>()
  let working: Promise<void> | undefined
  const beat = async (ask: Context['link']['run']): Promise<void> => {
    const answer = await ask(scripts.beat, [keys.meta, keys.replicas], [owner, deadAfterMs])
    const [found, rowsLost, ...silent] = Array.isArray(answer) ? answer.map(String) : []
    if (found !== storeId) throw new Error(OTHER_STORE)
    dead = silent.filter((name) => name !== owner)
    options.onBeat(Number(rowsLost))
  }
  const work = async (): Promise<void> => {
    await unsettled.flush()
    suspects = await cancelLost(options, suspects)
    // All replicas were silent when Redis was away: they get as long as ever to come back.
    if (performance.now() - inTouchSince < deadAfterMs) return
    await adoptLeftFiles(options, dead)
    for (const name of dead) await reap(context, name, deadAfterMs)
  }
  const tick = (): void => {
    if (!link.isReady()) return
    // Each time, however long the work takes: to the others a replica that does not beat is dead.
    const beaten = beat((script, keys, args) => link.run(script, keys, args))
    beaten.catch(() => undefined)
    working ??= beaten
      .then(work)
      .catch((error) => {
        // What Redis being away keeps from being done is done when it is back.
        if (link.isReady()) options.warn({ err: error }, 'what dead replicas left could not be settled yet')
      })
      .finally(() => {
        working = undefined
      })
  }
  const timer = setInterval(tick, Math.max(50, deadAfterMs / BEATS))
  return {
    beat,
    back: () => {
      inTouchSince = performance.now()
      holds.catchUp()
      options.retries.catchUp()
      tick()
    },
    close: async () => {
      clearInterval(timer)
      await working
      // Redis away: another replica, or the next start, does the same.
      await sayGoodbye(options).catch(() => undefined)
      await unsettled.close()
    },
  }
}

/** What is still held here nobody will settle any more. */
async function sayGoodbye({ context, unsettled }: ReplicaOptions): Promise<void> {
  await unsettled.flush()
  await reap(context, context.owner, 0)
}

/**
 * Ends holds that nobody here works on: their answer was lost, they came to stand after they were given up, or a
 * failover has forgotten how they ended.
 * Only those seen twice: the first look may fall between two steps of a settlement. Returns what was seen once.
 */
async function cancelLost(
  { context, holds, unsettled }: ReplicaOptions,
  suspects: ReadonlySet<string>,
): Promise<Set<string>> {
  const { link, keys, owner } = context
  const standing = await link.read((client) => client.hgetall(keys.holds(owner)))
  const strays = new Set<string>()
  for (const [hold, text] of Object.entries(standing)) {
    if (holds.isOpen(hold) || unsettled.has(hold)) continue
    strays.add(hold)
    if (!suspects.has(hold)) continue
    await endHold(context, { owner, hold, accounts: accountsOf(text) }, holds.endOf(hold))
  }
  return strays
}

/**
 * Settlements that a dead replica of this machine could not hand over any more: first, since they know more than its
 * holds. Another machine may have ended those long ago, and forgotten the replica: what they cost beyond is charged now.
 */
async function adoptLeftFiles(options: ReplicaOptions, dead: readonly string[]): Promise<void> {
  const { context, dbDir } = options
  const { link, keys } = context
  for (const file of await readdir(dbDir)) {
    const [, owner = ''] = UNSETTLED.exec(file) ?? []
    if (owner === '' || owner === context.owner) continue
    const isKnown = (await link.read((client) => client.zscore(keys.replicas, owner))) !== null
    if (isKnown && !dead.includes(owner)) continue
    await adoptFile(options, join(dbDir, file))
  }
}

/** A file that cannot be read keeps nobody else's from being settled. */
async function adoptFile(
  { context: { link }, unsettled, warn }: ReplicaOptions,
  path: string,
): Promise<void> {
  try {
    await unsettled.adopt(await readFile(path, 'utf8'))
    await unlink(path)
  } catch (error) {
    if (!link.isReady()) throw error
    warn({ err: error, path }, 'what a dead replica left in this file could not be settled yet')
  }
}

/** Nobody is left to settle them: an answer that had begun costs its least, all others nothing. */
async function reap(context: Context, owner: string, deadAfterMs: number): Promise<void> {
  const { link, scripts, keys } = context
  const left = await link.read((client) => client.hgetall(keys.holds(owner)))
  for (const [hold, text] of Object.entries(left)) {
    const end = endOfDead(text.slice(text.split(' ', 3).join(' ').length + 1))
    await endHold(context, { owner, hold, accounts: accountsOf(text) }, { ...end, deadAfterMs })
  }
  await link.run(scripts.leave, [keys.replicas, keys.holds(owner)], [owner, deadAfterMs])
}

/** The script takes the hold's own least for the cost. */
function endOfDead(text: string): End {
  if (text === '') return { requestId: '', costMicros: 0, row: '', mode: 'reap' }
  const row: UsageRow = { ...JSON.parse(text), estimated: true }
  return { requestId: row.requestId, costMicros: 0, row: JSON.stringify(row), mode: 'reap' }
}

function accountsOf(hold: string): AccountList {
  return readAccounts(hold.slice(0, hold.indexOf(' ')))
}
