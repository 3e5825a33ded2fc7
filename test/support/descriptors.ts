import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** How many descriptors a process holds: sockets, files and all. */
export function descriptorsOf({ pid }: { pid: number }): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** Memory of a process that is in RAM. */
export function residentMiB({ pid }: { pid: number }): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

/** How many connections of clients a gateway holds, those half closed included. */
export function clientsOf({ port }: { port: number }): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1)
  return lines.filter((line) => {
    const [, address = '', , state, , , , , , inode] = line.trim().split(/\s+/)
    // Neither listening nor without an owner.
    return address.endsWith(local) && state !== '0A' && inode !== '0'
  }).length
}

/** What `skip` of a test takes: its limit is set by prlimit, which only Linux has. */
export function withoutPrlimit(): string | false {
  return spawnSync('prlimit', ['--version']).status === 0 ? false : 'needs prlimit (util-linux)'
}
