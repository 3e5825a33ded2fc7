import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { findLosses, note, nothingYet } from './acknowledged.ts'
import type { Findings } from './kills.ts'
import { killedVictim } from './victim.ts'

/** A fast machine writes a million rows in sixty lives: a full disk is another test's subject. */
const IMAGE_BYTES = 384 * 1024 * 1024
/** What a power cut may take of the charges. */
const WINDOW_MS = 1000
const LIVES_OF_A_DISK = 20

const run = (command: string, ...args: string[]) => execFileSync(command, args, { stdio: 'pipe' }).toString()

/** A disk of its own whose power can be cut: what was not brought to it is gone. */
export interface Disk {
  folder: string
  /** Goes on with what the disk held at this moment. */
  cut(): void
  remove(): void
}

/** An ext4 image on a loop device; a string: why this machine cannot have one. */
export function openDisk(): Disk | string {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux'
  const root = mkdtempSync(join(tmpdir(), 'gateway-disk-'))
  const folder = join(root, 'mounted')
  mkdirSync(folder)
  let count = 0
  const image = () => join(root, `${count}.img`)
  const mount = () => run('mount', '-o', 'loop', image(), folder)
  try {
    writeFileSync(image(), '')
    truncateSync(image(), IMAGE_BYTES)
    run('mkfs.ext4', '-q', '-F', image())
    mount()
  } catch (error) {
    rmSync(root, { recursive: true })
    return `needs mkfs.ext4 and loop devices (${error instanceof Error ? error.message.split('\n')[0] : error})`
  }
  return {
    folder,
    cut: () => {
      const before = image()
      count += 1
      // The file as the block device has written it: what waits in the memory of the file system is not in it.
      copyFileSync(before, image())
      run('umount', folder)
      rmSync(before)
      mount()
    },
    remove: () => {
      // A victim of a test that failed may still sit in it.
      run('umount', '--lazy', folder)
      rmSync(root, { recursive: true })
    },
  }
}

/** The charges of a life that are gone, by their age at its end in milliseconds. */
function lostCharges(dbDir: string, lines: readonly string[], killedAt: number): Map<string, number> {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  const known = new Set(
    db
      .prepare('SELECT request_id AS id FROM usage')
      .all()
      .map(({ id }) => String(id)),
  )
  db.close()
  const charges = lines.filter((line) => line.startsWith('charged')).map((line) => [line, ...line.split(' ')])
  const lost = charges.filter(([, , , , requestId = '']) => !known.has(requestId))
  return new Map(lost.map(([line = '', , , at]) => [line, killedAt - Number(at)]))
}

/** Cuts the power of a working store at `cuts` moments, spread over three seconds of its life. */
export async function cutAgainAndAgain(
  disk: Disk,
  cuts: number,
  progress: (done: number) => void,
): Promise<Findings> {
  const dbDir = join(disk.folder, 'db')
  const faults: string[] = []
  let [minted, charged, oldestMs] = [0, 0, 0]
  let all = nothingYet()
  for (let cut = 0; cut < cuts; cut++) {
    if (cut % LIVES_OF_A_DISK === 0) {
      rmSync(dbDir, { recursive: true, force: true })
      all = nothingYet()
    }
    const { lines, killedAt } = await killedVictim('writer.ts', dbDir, { ms: (cut * 997) % 3000 })
    disk.cut()
    // Opened first as the server would: it finds what is wrong with the files themselves.
    const lost = existsSync(join(dbDir, 'usage.sqlite')) ? lostCharges(dbDir, lines, killedAt) : new Map()
    oldestMs = Math.max(oldestMs, ...lost.values())
    for (const [line, ms] of lost) if (ms > WINDOW_MS) faults.push(`cut ${cut}: lost after ${ms} ms: ${line}`)
    note(
      all,
      lines.filter((line) => !lost.has(line)),
    )
    faults.push(...(await findLosses(dbDir, all)).map((loss) => `cut ${cut}: ${loss}`))
    minted += lines.filter((line) => line.startsWith('minted')).length
    charged += lines.filter((line) => line.startsWith('charged')).length
    progress(cut + 1)
  }
  const acknowledged = `${minted} mints and ${charged} charges acknowledged`
  return { faults, figures: `${cuts} power cuts, ${acknowledged}, oldest lost charge ${oldestMs} ms` }
}

/** The same with lowdb's own adapter: how many of its acknowledged writes are gone, and how often nothing is left. */
export async function cutStockAdapter(
  disk: Disk,
  cuts: number,
): Promise<{ lost: number; acknowledged: number }> {
  let [lost, acknowledged] = [0, 0]
  for (let cut = 0; cut < cuts; cut++) {
    const dbDir = join(disk.folder, `stock-${cut}`)
    mkdirSync(dbDir)
    const { lines } = await killedVictim('stock-writer.ts', dbDir, { lines: 40 })
    disk.cut()
    acknowledged += lines.length
    lost += lines.length - keptByStock(join(dbDir, 'tokens.json'), lines)
  }
  return { lost, acknowledged }
}

function keptByStock(path: string, lines: readonly string[]): number {
  try {
    const { tokens } = JSON.parse(readFileSync(path, 'utf8'))
    return lines.filter((line) => tokens.includes(line)).length
  } catch {
    return 0
  }
}
