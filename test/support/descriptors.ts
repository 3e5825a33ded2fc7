import { readdirSync, readFileSync } from 'node:fs'

/** How many descriptors a process holds: sockets, files and all. */
export const descriptorsOf = ({ pid }: { pid: number }): number => readdirSync(`/proc/${pid}/fd`).length

/** Memory of a process that is in RAM. */
export const residentMiB = ({ pid }: { pid: number }): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
