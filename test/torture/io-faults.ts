import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findLosses, note, nothingYet } from './acknowledged.ts'
import type { Findings } from './kills.ts'

const WRITER = join(import.meta.dirname, 'fault-writer.ts')
const TIMEOUT_MS = 60_000
/** Calls that only the driver makes, none of Node's own. */
const CALLS = [
  ['fsync', 'EIO'],
  ['fdatasync', 'EIO'],
  ['rename', 'ENOSPC'],
  ['pwrite64', 'ENOSPC'],
  ['ftruncate', 'EIO'],
  ['fchmod,chmod', 'EIO'],
] as const

export const hasStrace = (): boolean => {
  const probe = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', 'true']
  return spawnSync('strace', probe).status === 0
}

interface Failure {
  call: string
  error: string
  /** The first call of its kind that fails, counted per thread, and how many fail. */
  at: number
  count: number
}

/** One life of the writer with calls that fail; undefined: it made no such call any more. */
async function failOnce({ call, error, at, count }: Failure): Promise<string[] | undefined> {
  const root = mkdtempSync(join(tmpdir(), 'gateway-faults-'))
  const [log, dbDir] = [join(root, 'strace'), join(root, 'db')]
  const inject = `inject=${call}:error=${error}:when=${at}..${at + count - 1}`
  const args = ['-f', '--seccomp-bpf', '-qq', '-o', log, '-e', `trace=${call}`, '-e', inject]
  try {
    const { status, signal, stdout, stderr } = spawnSync(
      'strace',
      [...args, process.execPath, WRITER, dbDir],
      {
        encoding: 'utf8',
        timeout: TIMEOUT_MS,
        // One thread for the files, so that a call's number says which one it is.
        env: { PATH: process.env.PATH, UV_THREADPOOL_SIZE: '1' },
      },
    )
    if (!readFileSync(log, 'utf8').includes('(INJECTED)')) return undefined
    const lines = stdout.split('\n').slice(0, -1)
    const all = nothingYet()
    note(all, lines)
    const what = `${call} ${at}+${count}`
    const faults = (await findLosses(dbDir, all)).map((loss) => `${what}: ${loss}`)
    if (status !== 0) faults.push(`${what}: ended with ${status ?? signal}: ${stderr.slice(0, 400)}`)
    if (!lines.some((line) => line.startsWith('recovered')))
      faults.push(`${what}: did not recover: ${lines.slice(-3)}`)
    return faults
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

export interface EveryCall {
  /** Of each kind only every so many-th call. */
  stride?: number
  progress?(done: number): void
}

/** Lets every call of the file driver fail, one after the other, once and five times in a row. */
export async function failAtEveryCall({ stride = 1, progress = () => {} }: EveryCall): Promise<Findings> {
  const faults: string[] = []
  let failures = 0
  for (const [call, error] of CALLS)
    for (const count of [1, 5])
      for (let at = 1; ; at += stride) {
        const found = await failOnce({ call, error, at, count })
        if (found === undefined) break
        faults.push(...found)
        progress(++failures)
      }
  return {
    faults,
    figures: `${failures} failures at calls of the file driver (${CALLS.map(([call]) => call)})`,
  }
}
