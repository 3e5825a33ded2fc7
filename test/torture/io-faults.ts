import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { findLosses, note, nothingYet } from './acknowledged.ts'
import type { Findings } from './kills.ts'

const WRITER = join(import.meta.dirname, 'fault-writer.ts')
const TIMEOUT_MS = 60_000
/** Calls that only the driver makes once its modules are loaded. `write` is left out: libuv wakes its threads with it. */
const CALLS = [
  ['openat', 'EMFILE'],
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
  try {
    const { stdout, stderr, ended } = await liveTraced(dbDir, [
      '-o',
      log,
      '-e',
      `trace=${call}`,
      '-e',
      inject,
    ])
    if (!readFileSync(log, 'utf8').includes('(INJECTED)')) return undefined
    const lines = stdout.split('\n').slice(0, -1)
    const all = nothingYet()
    note(all, lines)
    const what = `${call} ${at}+${count}`
    const faults = (await findLosses(dbDir, all)).map((loss) => `${what}: ${loss}`)
    if (ended !== 0) faults.push(`${what}: ended with ${ended}: ${stderr.slice(0, 400)}`)
    if (!lines.some((line) => line.startsWith('recovered')))
      faults.push(`${what}: did not recover: ${lines.slice(-3)}`)
    return faults
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** The writer's life, traced from the moment when all its modules are loaded. */
async function liveTraced(dbDir: string, traced: readonly string[]) {
  const writer = spawn(process.execPath, [WRITER, dbDir], {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    // One thread for the files, so that a call's number says which one it is.
    env: { PATH: process.env.PATH, UV_THREADPOOL_SIZE: '1' },
  })
  const [stdout, stderr, closed] = [text(writer.stdout), text(writer.stderr), once(writer, 'close')]
  await once(writer.stdout, 'readable')
  const tracer = spawn('strace', ['-f', '-p', String(writer.pid), ...traced], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const left = once(tracer, 'close')
  // It says on its standard error that it has attached.
  await once(tracer.stderr, 'data')
  writer.stdin.end('go')
  const [status, signal] = await closed
  await left
  return { stdout: await stdout, stderr: await stderr, ended: status ?? signal }
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
