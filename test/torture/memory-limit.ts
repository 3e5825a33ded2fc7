import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A control group that ends the process which wants more memory than it has: as a container does. */
export interface MemoryLimit {
  remove(): void
}

const GROUPS = '/sys/fs/cgroup'
/** Where the limit stands in the second and the first kind of control groups. */
const KINDS = [
  { root: GROUPS, limit: 'memory.max' },
  { root: join(GROUPS, 'memory'), limit: 'memory.limit_in_bytes' },
]

/** From now on the process may have so many bytes more than it has; undefined: this machine does not let us. */
export function limitMemory(pid: number, bytes: number): MemoryLimit | undefined {
  for (const { root, limit } of KINDS) {
    const folder = join(root, `gateway-torture-${pid}`)
    try {
      mkdirSync(folder)
      writeFileSync(join(folder, limit), String(bytes))
      writeFileSync(join(folder, 'cgroup.procs'), String(pid))
      if (readFileSync(join(folder, 'cgroup.procs'), 'utf8').includes(String(pid))) return removable(folder)
    } catch {
      // Another kind, or no right to it.
    }
    remove(folder)
  }
  return undefined
}

const removable = (folder: string): MemoryLimit => ({ remove: () => remove(folder) })

function remove(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Never made, or its process still lives.
  }
}
