import { execFile } from 'node:child_process'
import type { Exit } from '../../support/process.ts'

interface Where {
  cwd?: string
  env?: Record<string, string>
}

/** Runs a program to its end and returns all it said. */
export const run = (command: string, args: readonly string[], { cwd, env }: Where = {}): Promise<Exit> =>
  new Promise((resolve) => {
    const options = { cwd, env: { ...process.env, ...env }, maxBuffer: 64 * 1024 * 1024 }
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      // A program that is not there has an error code of letters and never began.
      const unknown = error !== null && typeof error.code === 'string'
      const code = unknown ? 127 : (child.exitCode ?? null)
      resolve({ code, signal: child.signalCode, stdout, stderr: unknown ? error.message : stderr })
    })
  })

/** What the program prints; throws with all it said when it fails. */
export async function output(command: string, args: readonly string[], where: Where = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, where)
  if (code === 0) return stdout.trim()
  throw new Error(
    `${command} ${args.join(' ')} ended with ${code}\n${stdout.slice(-3000)}${stderr.slice(-3000)}`,
  )
}

/** One command line, as an operator types it. */
export const shell = (line: string, where: Where = {}): Promise<string> => output('sh', ['-ec', line], where)

/** Asks until there is an answer: for what no event tells, such as a certificate that Traefik has stored. */
export async function poll<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  { timeoutMs = 60_000, everyMs = 300 } = {},
): Promise<T> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const found = await ask()
    if (found !== undefined) return found
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
    await new Promise((again) => setTimeout(again, everyMs))
  }
}
