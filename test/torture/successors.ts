import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStores } from '../../src/stores/open.ts'
import { bareEnv } from '../support/process.ts'
import type { Findings } from './kills.ts'

const CHARGE = 3
const AT_ONCE = 3

interface Sharer {
  child: ChildProcess
  lines: string[]
  ended: Promise<unknown>
  wasKilled: boolean
}

function startSharer(dbDir: string): Sharer {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'sharer.ts'), dbDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: bareEnv(),
  })
  const lines: string[] = []
  let rest = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts)
  })
  return { child, lines, ended: once(child, 'close'), wasKilled: false }
}

async function untilSaid({ child, lines }: Sharer, word: string): Promise<boolean> {
  for (const until = Date.now() + 20_000; Date.now() < until; await sleep(5)) {
    if (lines.some((line) => line.startsWith(word))) return true
    if (child.exitCode !== null || child.signalCode !== null) return false
  }
  return false
}

/**
 * Three servers of one folder at work; again and again one of them, whoever has the files or another, is killed at a
 * random moment or leaves as in an update, and a new one comes.
 */
export async function replaceAgainAndAgain(
  cycles: number,
  progress: (done: number) => void,
): Promise<Findings> {
  const dbDir = await mkdtemp(join(tmpdir(), 'gateway-successors-'))
  const all: Sharer[] = []
  const faults: string[] = []
  let running: Sharer[] = []
  const begin = async (): Promise<void> => {
    const sharer = startSharer(dbDir)
    all.push(sharer)
    running.push(sharer)
    // A successor may be killed while it starts, but not the very first server.
    if (Math.random() < 0.8 || all.length === 1) await untilSaid(sharer, 'ready')
  }
  let kills = 0
  for (let cycle = 0; cycle < cycles; cycle += 1) {
    while (running.length < AT_ONCE) await begin()
    await sleep(Math.random() * 150)
    // The oldest has the files; two at once, so that a hand-over is interrupted as well.
    const victims = Math.random() < 0.7 ? running.slice(0, 1) : [pick(running)]
    if (Math.random() < 0.3) victims.push(pick(running))
    for (const victim of new Set(victims)) {
      // Before it is ready nobody would hear of a SIGTERM.
      victim.wasKilled = Math.random() < 0.7 || !victim.lines.includes('ready')
      if (victim.wasKilled) kills += 1
      victim.child.kill(victim.wasKilled ? 'SIGKILL' : 'SIGTERM')
      if (Math.random() < 0.5) await sleep(Math.random() * 20)
    }
    running = running.filter((one) => !victims.includes(one))
    progress(cycle + 1)
  }
  for (const one of running) {
    // The last ones may still be starting: nobody would hear of it.
    await untilSaid(one, 'ready')
    one.child.kill('SIGTERM')
  }
  await Promise.all(all.map(({ ended }) => ended))
  faults.push(...(await faultsOf(dbDir, all)))
  const pauses = all.flatMap(({ lines }) =>
    lines.filter((line) => line.startsWith('taken')).map((line) => Number(line.split(' ')[1])),
  )
  await rm(dbDir, { recursive: true })
  const charges = all.flatMap(({ lines }) => lines.filter((line) => line.startsWith('charged'))).length
  const longest = Math.max(0, ...pauses)
  return {
    faults,
    figures: `${cycles} changes, ${kills} of them kill -9, ${pauses.length} take-overs (the longest took ${longest} ms), ${charges} acknowledged charges`,
  }
}

function pick(running: readonly Sharer[]): Sharer {
  const one = running[Math.floor(Math.random() * running.length)]
  if (one === undefined) throw new Error('nobody runs')
  return one
}

async function faultsOf(dbDir: string, all: readonly Sharer[]): Promise<string[]> {
  const faults: string[] = []
  const stores = await openStores({ dbDir })
  // Guests that were killed have so long to come back.
  await sleep(6_000)
  const tokens = await stores.tokens.list()
  const books = new Map<string, number>()
  for (const { id } of tokens) {
    const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = await stores.tokens.credits(id)
    books.set(id, chargedMicros)
    if (heldMicros !== 0) faults.push(`${heldMicros} micros of ${id} are held by nobody`)
    if (balanceMicros < 0 || creditedMicros !== balanceMicros + heldMicros + chargedMicros)
      faults.push(`the books of ${id} are wrong`)
  }
  const kept = said(all, 'kept').slice(-200)
  for (const [, tokenId = '', requestId = ''] of kept) {
    const key = {
      tokenId,
      key: requestId,
      fingerprint: 'a',
      bodyBytes: 1,
      requestId: 'another',
      at: Date.now(),
    }
    const claim = await stores.idempotency.claim(key)
    if (claim.state !== 'answered' || claim.answer?.body.toString() !== requestId)
      faults.push(`the answer of ${requestId} is ${claim.state}`)
  }
  await stores.close()
  faults.push(...wrongCharges(dbDir, all, books))
  for (const { lines, wasKilled } of all) {
    faults.push(...lines.filter((line) => line.startsWith('failed')))
    if (!wasKilled && !lines.includes('left')) faults.push('a server did not leave when it was told to')
  }
  return faults
}

function said(all: readonly Sharer[], word: string): string[][] {
  return all.flatMap(({ lines }) => lines.map((line) => line.split(' ')).filter(([first]) => first === word))
}

/** Each acknowledged charge stands there once and whole; what was not acknowledged at most once. */
function wrongCharges(dbDir: string, all: readonly Sharer[], books: ReadonlyMap<string, number>): string[] {
  const faults: string[] = []
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  const rows = db.prepare('SELECT request_id, token_id, charged_micros FROM usage').all()
  const left = db.prepare('SELECT count(*) AS count FROM holds').get()?.count
  db.close()
  if (left !== 0) faults.push(`${left} holds are left`)
  const charged = new Map<string, number>()
  const sums = new Map<string, number>()
  for (const { request_id: id, token_id: token, charged_micros: micros } of rows) {
    if (charged.has(String(id))) faults.push(`${id} was charged twice`)
    charged.set(String(id), Number(micros))
    sums.set(String(token), (sums.get(String(token)) ?? 0) + Number(micros))
  }
  for (const [id, micros] of books)
    if ((sums.get(id) ?? 0) !== micros)
      faults.push(`the rows of ${id} are ${sums.get(id)}, its charges ${micros}`)
  for (const [, , requestId = '', micros] of said(all, 'charged'))
    if (charged.get(requestId) !== CHARGE || Number(micros) !== CHARGE)
      faults.push(
        `the acknowledged charge of ${requestId} (${micros}) stands there as ${charged.get(requestId)}`,
      )
  return faults
}
