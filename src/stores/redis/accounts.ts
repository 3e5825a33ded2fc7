import { balanceTooSmall, idempotencyMismatch, storeUnavailable } from '../../errors.ts'
import {
  type Adjustment,
  type Credits,
  checkAccounts,
  checkMicros,
  type Hold,
  type HoldRequest,
  holdOver,
  OPERATION_MEMORY_MS,
  type Settlement,
  writeAccounts,
} from '../contracts/accounts.ts'
import { type Waiting, waitingOf } from '../contracts/sizes.ts'
import { checkAdjustment } from '../contracts/token-changes.ts'
import type { UsageRow } from '../contracts/usage-columns.ts'
import {
  CANCELLED,
  type Context,
  type End,
  endHold,
  furtherAccounts,
  type HoldName,
  readNumbers,
} from './context.ts'
import { runCopied } from './copied.ts'
import type { Unsettled } from './unsettled.ts'

// How many ended holds are remembered, for whoever settles one twice.
const MOST_REMEMBERED = 10_000

interface OpenHold extends HoldName {
  micros: number
  balanceMicros: number
  /** What a crash would cost, once an answer has begun. */
  mark?: { leastMicros: number; row: string }
  isMarked: boolean
  /** By the clock of `performance.now`. */
  since: number
}

interface Ended {
  holdId: number
  settlement: Promise<Settlement>
  end: End
}

/** The holds of this replica: an end that Redis does not take goes into `unsettled` and is done later. */
export class Holds {
  readonly #context: Context
  readonly #unsettled: Unsettled
  readonly #open = new Map<number, OpenHold>()
  /** The holds that are sent, and not answered yet. */
  readonly #asked = new Set<string>()
  readonly #ended: (Ended | undefined)[] = []
  #nextId = 1

  constructor(context: Context, unsettled: Unsettled) {
    this.#context = context
    this.#unsettled = unsettled
  }

  async hold({ accounts, micros, leastMicros }: HoldRequest): Promise<Hold | undefined> {
    checkAccounts(accounts)
    checkMicros('micros', micros)
    checkMicros('leastMicros', leastMicros)
    if (this.#unsettled.isFull()) throw storeUnavailable('Too many charges wait to be written: try again')
    const { link, scripts, keys, owner } = this.#context
    const id = this.#nextId++
    const name = { owner, hold: String(id), accounts }
    const touched = [
      keys.account(accounts[0]),
      keys.holds(owner),
      keys.ended(owner, name.hold),
      keys.replicas,
      ...furtherAccounts(keys, accounts),
    ]
    // Nothing is sent to a Redis known to be away: then there is nothing to give up either.
    const isSent = link.isReady()
    this.#asked.add(name.hold)
    try {
      const args = [name.hold, micros, leastMicros, writeAccounts(accounts), owner]
      const [isGranted, granted = 0, balanceMicros = 0] = readNumbers(
        await link.run(scripts.hold, touched, args),
      )
      if (isGranted !== 1) return undefined
      this.#open.set(id, {
        ...name,
        micros: granted,
        balanceMicros,
        isMarked: false,
        since: performance.now(),
      })
      return { id, accounts, micros: granted, balanceMicros }
    } catch (error) {
      // It may stand all the same, or come to stand later.
      if (isSent) this.#unsettled.cancel(name)
      throw error
    } finally {
      this.#asked.delete(name.hold)
    }
  }

  /** One that got no answer may stand all the same: to Redis the hold is raised then, and ends as raised. */
  async raise(holdId: number, micros: number, leastMicros = micros): Promise<Hold | undefined> {
    checkMicros('micros', micros)
    checkMicros('leastMicros', leastMicros)
    const hold = this.#open.get(holdId)
    if (hold === undefined) throw holdOver()
    const { link, scripts, keys, owner } = this.#context
    const { accounts } = hold
    const further = furtherAccounts(keys, accounts)
    const touched = [keys.account(accounts[0]), keys.holds(owner), keys.replicas, ...further]
    const args = [hold.hold, micros, leastMicros, owner]
    const [state, raised = 0, balanceMicros = 0] = readNumbers(await link.run(scripts.raise, touched, args))
    if (state === 0) throw holdOver()
    // Answers of raises that ran at once may come in any order.
    hold.micros = Math.max(hold.micros, raised)
    hold.balanceMicros = balanceMicros
    return state === 1 ? { id: holdId, accounts, micros: raised, balanceMicros } : undefined
  }

  markAnswered(holdId: number, leastMicros: number, row: UsageRow): void {
    checkMicros('leastMicros', leastMicros)
    const hold = this.#open.get(holdId)
    if (hold === undefined || hold.mark !== undefined) return
    hold.mark = { leastMicros, row: JSON.stringify({ ...row, tokenId: hold.accounts[0] }) }
    this.#mark(hold)
  }

  /** The same hold twice is one charge; undefined: no hold of this replica. */
  settle(holdId: number, row: UsageRow): Promise<Settlement> | undefined {
    const hold = this.#open.get(holdId)
    if (hold === undefined) {
      const before = this.#ended[holdId % MOST_REMEMBERED]
      return before?.holdId === holdId ? before.settlement : undefined
    }
    this.#open.delete(holdId)
    const { requestId, costMicros } = row
    const text = JSON.stringify({ ...row, tokenId: hold.accounts[0] })
    const end: End = { requestId, costMicros, row: text, mode: 'settle' }
    const settlement = this.#settleOpen(hold, end)
    this.#ended[holdId % MOST_REMEMBERED] = { holdId, settlement, end }
    return settlement
  }

  waiting(): Waiting {
    return waitingOf(this.#open, performance.now())
  }

  /** Redis answers again: what could not be said is said. */
  catchUp(): void {
    for (const hold of this.#open.values()) this.#mark(hold)
  }

  /** Whether this replica still works on the hold. */
  isOpen(hold: string): boolean {
    return this.#asked.has(hold) || this.#open.has(Number(hold))
  }

  /** How a hold that stands without being worked on is to end: a failover may have forgotten its settlement. */
  endOf(hold: string): End {
    const ended = this.#ended[Number(hold) % MOST_REMEMBERED]
    return ended?.holdId === Number(hold) ? ended.end : CANCELLED
  }

  #mark(hold: OpenHold): void {
    if (hold.mark === undefined || hold.isMarked) return
    const { link, scripts, keys, owner } = this.#context
    const { leastMicros, row } = hold.mark
    const done = () => {
      hold.isMarked = true
    }
    link.run(scripts.mark, [keys.holds(owner)], [hold.hold, leastMicros, row]).then(done, () => undefined)
  }

  async #settleOpen(hold: OpenHold, end: End): Promise<Settlement> {
    try {
      return await endHold(this.#context, hold, end)
    } catch {
      // Whether it was done or not: done again it changes nothing.
    }
    await this.#unsettled.add(hold, end)
    const chargedMicros = Math.min(end.costMicros, hold.micros)
    return { chargedMicros, balanceMicros: hold.balanceMicros + hold.micros - chargedMicros }
  }
}

const MEMORY_SECONDS = 2 * Math.ceil(OPERATION_MEMORY_MS / 1000)

/** Tops up or takes away in one step, once for each operation id; whether there are all these accounts. */
export async function adjust({ link, scripts, keys }: Context, adjustment: Adjustment): Promise<boolean> {
  const { operationId, accounts, micros } = adjustment
  checkAdjustment(adjustment)
  const further = furtherAccounts(keys, accounts)
  const touched = [keys.account(accounts[0]), keys.operation(operationId), ...further]
  const args = [writeAccounts(accounts), micros, Number.MAX_SAFE_INTEGER, MEMORY_SECONDS]
  const answer = await runCopied(link, scripts.adjust, touched, args)
  if (answer === 'small') throw balanceTooSmall('The free balance does not cover what is to be taken')
  if (answer === 'other') throw idempotencyMismatch('This operation id stands for another change')
  if (answer === 'much') throw new RangeError('that would be more credits than can be counted')
  return answer === 'ok'
}

export async function readCredits({ link, keys }: Context, tokenId: string): Promise<Credits | undefined> {
  const fields = ['credited', 'balance', 'held', 'charged']
  const found = await link.read((client) => client.hmget(keys.account(tokenId), ...fields))
  if (typeof found[0] !== 'string') return undefined
  const [creditedMicros = 0, balanceMicros = 0, heldMicros = 0, chargedMicros = 0] = readNumbers(found)
  return { creditedMicros, balanceMicros, heldMicros, chargedMicros }
}
