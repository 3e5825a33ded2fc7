import type { ChildProcess } from 'node:child_process'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Owner } from './waiting.ts'

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** A child process with everything it has written so far. */
export interface RunningProcess {
  child: ChildProcess
  stdout(): string
  stderr(): string
  exited: Promise<Exit>
  /** Calls `listener` whenever the process has written something. */
  onChange(listener: () => void): void
}

interface Start {
  /** This very Node unless another program is named. */
  command?: string
  args: readonly string[]
  env: Record<string, string>
  cwd: string
}

/** PATH and HOME, nothing else of the developer's environment. */
export function bareEnv(): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    HOME: process.env.HOME ?? '',
  }
}

/** Starts this very Node (or `command`) with `args`; what still runs at the end of the test is killed. */
export function startProcess(
  t: Owner,
  { command = process.execPath, args, env, cwd }: Start,
): RunningProcess {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const listeners: (() => void)[] = []
  let [stdout, stderr] = ['', '']
  const changed = () => {
    for (const listener of listeners) listener()
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    changed()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    changed()
  })
  const exited = once(child, 'close').then(([code, signal]): Exit => ({ code, signal, stdout, stderr }))
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exited
  })
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    onChange: (listener) => listeners.push(listener),
  }
}

/** Runs this very Node with `args` to its end. */
export function runProcess(t: Owner, start: Start): Promise<Exit> {
  return startProcess(t, start).exited
}

/** A Node of the PATH that cannot run the sources itself, when the machine has one; else this one. */
export function systemNode(): string {
  const probe = 'process.exit(process.features.typescript ? 1 : 0)'
  const all = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'node'))
  const older = all.find((path) => existsSync(path) && spawnSync(path, ['-e', probe]).status === 0)
  return older ?? process.execPath
}
