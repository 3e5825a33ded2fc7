import { readdirSync, readFileSync } from 'node:fs'

/** CPU time of a process, all its threads, in microseconds. */
export function cpuUs(pid: number): number {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`)
    const ns = tasks.map((task) =>
      Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
    )
    return ns.reduce((sum, each) => sum + each, 0) / 1000
  } catch {
    return clockTicksUs(pid)
  }
}

/** utime + stime, for kernels without schedstat; a tick is 10 ms. */
function clockTicksUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

/** Memory that is the process's own share, in bytes. */
export function memoryBytes(pid: number): number {
  const read = (file: string, field: string) => {
    const text = readFileSync(`/proc/${pid}/${file}`, 'utf8')
    return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1]) * 1024
  }
  try {
    return read('smaps_rollup', 'Pss')
  } catch {
    return read('status', 'VmRSS')
  }
}

/** Busy time of the core that the candidate is pinned to, in microseconds: shows what others took. */
export function coreBusyUs(core: number): number {
  const line = readFileSync('/proc/stat', 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`cpu${core} `))
  const [, user = 0, nice = 0, system = 0, , , irq = 0, soft = 0, steal = 0] = (line ?? '')
    .split(' ')
    .map(Number)
  return (user + nice + system + irq + soft + steal) * 10_000
}

/** The value below which `share` of them lie. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}
