import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { findLosses, note, nothingYet } from './acknowledged.ts'
import type { Findings } from './kills.ts'

const WRITER = join(import.meta.dirname, 'fault-writer.ts')
const TIMEOUT_MS = 60_000
/** From an empty disk to one that takes all that the writer writes, page by page. */
const MOST_KB = 200
const PAGE_KB = 4
/** So long a disk stays full: the writer, which needs less than that where there is room, is refused or waits. */
const FULL_MS = 2_500

const run = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0

/** Whether this machine lets us mount a disk of our own. */
export const canMount = (): boolean => {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-full-'))
  const can = mountTmpfs(folder, PAGE_KB)
  if (can) run('umount', folder)
  rmSync(folder, { recursive: true })
  return can
}

// The first page is the folder itself.
const mountTmpfs = (folder: string, sizeKb: number): boolean =>
  run('mount', '-t', 'tmpfs', '-o', `size=${sizeKb + PAGE_KB}k,mode=0700`, 'full-disk', folder)

interface Life {
  wasFull: boolean
  faults: string[]
}

/** One life of the writer on a disk of this size, which is made larger after a while. */
async function fillOnce(folder: string, sizeKb: number): Promise<Life> {
  if (!mountTmpfs(folder, sizeKb)) throw new Error('no tmpfs can be mounted')
  let room: NodeJS.Timeout | undefined
  let wasFull = false
  const makeRoom = (): void => {
    wasFull = run('mount', '-o', 'remount,size=64m', folder)
  }
  try {
    const dbDir = join(folder, 'db')
    const writer = spawn(process.execPath, [WRITER, dbDir], {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
    })
    const [stdout, stderr, closed] = [text(writer.stdout), text(writer.stderr), once(writer, 'close')]
    writer.stdout.once('readable', () => {
      room = setTimeout(makeRoom, FULL_MS)
      writer.stdin.end('go')
    })
    const [status, signal] = await closed
    const lines = (await stdout).split('\n').slice(0, -1)
    const all = nothingYet()
    note(all, lines)
    const faults = await findLosses(dbDir, all)
    if (status !== 0) faults.push(`ended with ${status ?? signal}: ${(await stderr).slice(0, 400)}`)
    if (!lines.some((line) => line.startsWith('recovered')))
      faults.push(`did not recover: ${lines.slice(-3)}`)
    return { wasFull, faults: faults.map((fault) => `${sizeKb} KiB: ${fault}`) }
  } finally {
    clearTimeout(room)
    run('umount', '--lazy', folder)
  }
}

/** The disk is full at each of the driver's writes, one after the other, until room is made. */
export async function fillAgainAndAgain(stepKb: number, progress: (done: number) => void): Promise<Findings> {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-full-'))
  const faults: string[] = []
  let [lives, full] = [0, 0]
  try {
    for (let sizeKb = 0; sizeKb <= MOST_KB; sizeKb += stepKb) {
      const life = await fillOnce(folder, sizeKb)
      faults.push(...life.faults)
      if (life.wasFull) full++
      progress(++lives)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  if (full < lives / 4) faults.push(`only ${full} of ${lives} disks were full: this test shows little`)
  return { faults, figures: `${lives} sizes of a disk, full in ${full} of them` }
}
