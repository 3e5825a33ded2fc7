import type { ChildProcess, StdioOptions } from 'node:child_process'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'

/** The candidate has this core to itself; everything else runs on the other. */
export const CANDIDATE_CORE = 0
export const OTHER_CORE = 1

/** Where a program is, or undefined. */
export function findProgram(name: string): string | undefined {
  try {
    return execFileSync('which', [name], { encoding: 'utf8' }).trim() || undefined
  } catch {
    return undefined
  }
}

const taskset = findProgram('taskset')
const running = new Set<ChildProcess>()

interface Start {
  core: number
  command: string
  args: readonly string[]
  env?: Record<string, string>
  cwd?: string
  ipc?: boolean
}

/** Starts a program pinned to a core, where the system can pin. */
export function startPinned({ core, command, args, env, cwd, ipc }: Start): ChildProcess {
  const stdio: StdioOptions = ipc ? ['ignore', 'ignore', 'inherit', 'ipc'] : ['ignore', 'ignore', 'pipe']
  const options = { stdio, cwd, env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env } }
  const child = taskset
    ? spawn(taskset, ['-c', String(core), command, ...args], options)
    : spawn(command, args, options)
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

/** Ends one child and waits for its end. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 3000)
  await ended
  clearTimeout(timer)
}

/** Nothing that this run started survives it. */
export function endAllWithProcess(): void {
  process.on('exit', () => {
    for (const child of running) child.kill('SIGKILL')
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
