import { setTimeout as sleep } from 'node:timers/promises'
import { type AttemptStore, nextAttemptMs } from './attempts.ts'
import { describe, type Family, type Found, type Judgement, judge } from './judgement.ts'
import type { Orders } from './orders.ts'
import type { Shown } from './traefik.ts'

const SERVED_MS = 10_000
const SOON_MS = 1000
const [FIRST_LOOK_MS, LAST_LOOK_MS] = [5000, 60_000]

/** What all names share. */
export interface Shared {
  shown(name: string): Promise<Shown>
  /** Whether the check itself stands: else every answer would look like somebody else's. */
  isEdgeReady(): Promise<boolean>
  find(name: string): Promise<Found>
  reachedItselfOver: ReadonlySet<Family>
  orders: Orders
  attempts: AttemptStore
  /** Without the check every name counts as pointing here. */
  isChecked: boolean
  /** Without it every name waits for a certificate of the operator's own. */
  isOrdered: boolean
  retryMs: number
  say(name: string, text: string): void
}

/** One name: what is known of it between two looks. */
interface Watched {
  name: string
  orderedAtMs?: number
  /** When a name that nobody knows about is ordered all the same. */
  unknownDueMs?: number
  judged?: string
  lookMs: number
}

/** Looks after one name until the process ends. Names do not wait for each other. */
export async function watchName(name: string, shared: Shared): Promise<never> {
  const watched: Watched = { name, lookMs: FIRST_LOOK_MS }
  for (;;) {
    const waitMs = await look(watched, shared).catch((error: Error) => {
      shared.say(name, `cannot be looked after: ${error.message}`)
      return SERVED_MS
    })
    await sleep(waitMs)
  }
}

/** One look; returns after how long the next one is due. */
async function look(watched: Watched, shared: Shared): Promise<number> {
  const { name } = watched
  const shown = await shared.shown(name)
  if (shown.is === 'certificate') return beServed(watched, shared, shown.untilMs)
  if (shown.is === 'away') return awaitTraefik(name, shared)
  if (!shared.isOrdered) {
    shared.say(name, 'has no certificate in edge/certificates, and none is ordered (ACME_CHALLENGE=off)')
    return SERVED_MS
  }
  if (watched.orderedAtMs !== undefined) {
    // An order that fails says so in Traefik's log alone; one that takes longer than this is seen all the same.
    if (performance.now() - watched.orderedAtMs < shared.retryMs / 2) return SOON_MS
    delete watched.orderedAtMs
  }
  if (!shared.isChecked)
    return mayOrder(watched, shared, { found: { addresses: [] }, judgement: { is: 'here' } })
  if (!(await shared.isEdgeReady())) return awaitTraefik(name, shared)
  const found = await shared.find(name)
  return mayOrder(watched, shared, { found, judgement: judge(found, shared.reachedItselfOver) })
}

function awaitTraefik(name: string, { say }: Shared): number {
  say(name, 'Traefik is not ready yet: it is waited for')
  return SOON_MS
}

function beServed(watched: Watched, { say, attempts }: Shared, untilMs: number): number {
  watched.lookMs = FIRST_LOOK_MS
  delete watched.orderedAtMs
  delete watched.judged
  attempts.forget(watched.name)
  const until = new Date(untilMs).toISOString()
  say(
    watched.name,
    untilMs > Date.now()
      ? `has its certificate, valid until ${until}`
      : `has a certificate that ended at ${until} and was not renewed: Traefik's log says why (grep -i acme)`,
  )
  return SERVED_MS
}

interface Finding {
  found: Found
  judgement: Judgement
}

async function mayOrder(watched: Watched, shared: Shared, finding: Finding): Promise<number> {
  const { name } = watched
  const { judgement } = finding
  const isNew = describe(judgement) !== watched.judged
  watched.judged = describe(judgement)
  watched.lookMs = isNew ? FIRST_LOOK_MS : Math.min(watched.lookMs * 2, LAST_LOOK_MS)
  if (judgement.is !== 'unknown') delete watched.unknownDueMs
  if (judgement.is === 'elsewhere' || judgement.is === 'missing' || judgement.is === 'unanswered') {
    shared.say(name, watched.judged)
    return watched.lookMs
  }
  const dueMs = whenDue(watched, shared, finding)
  if (dueMs <= Date.now()) return order(watched, shared, finding)
  shared.say(name, waiting(watched, shared, dueMs))
  return Math.min(dueMs - Date.now(), watched.lookMs)
}

function addressesOf({ addresses }: Found) {
  return addresses.map(({ address }) => address)
}

function whenDue(watched: Watched, { attempts, retryMs }: Shared, { found, judgement }: Finding): number {
  const nowMs = Date.now()
  const addresses = addressesOf(found)
  const dueMs = nextAttemptMs(attempts.of(watched.name, nowMs), { nowMs, retryMs, addresses })
  if (judgement.is !== 'unknown') return dueMs
  watched.unknownDueMs ??= nowMs + retryMs
  return Math.max(dueMs, watched.unknownDueMs)
}

function waiting({ name, judged }: Watched, { attempts }: Shared, dueMs: number): string {
  const again = `next order at ${new Date(dueMs).toISOString().replace(/\.\d+/, '')}`
  const isFirst = attempts.of(name, Date.now()).timesMs.length === 0
  return isFirst
    ? `${judged}; ${again}`
    : `${judged}, but its order has brought no certificate: Traefik's log says why (grep -i acme); ${again}`
}

async function order(
  watched: Watched,
  { attempts, orders, say }: Shared,
  { found }: Finding,
): Promise<number> {
  attempts.add(watched.name, Date.now(), addressesOf(found))
  say(watched.name, `${watched.judged}: a certificate is ordered`)
  await orders.order(watched.name)
  watched.orderedAtMs = performance.now()
  return SOON_MS
}
