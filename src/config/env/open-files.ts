import { readFileSync } from 'node:fs'

/** Below so many a gateway under load runs out: each client is one, and each of its requests another. */
export const FEW_FILES = 4_096

/** How many files and sockets this process may hold at once (`ulimit -n`, which Node raises as far as it may); undefined: nobody says. */
export function readFileLimit(path = '/proc/self/limits'): number | undefined {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync(path, 'utf8')) ?? []
    return limit === undefined ? undefined : Number(limit)
  } catch {
    // Only Linux has it.
    return undefined
  }
}
