import { readFileSync } from 'node:fs'
import { bearer, get } from './client.ts'

/** What the kernel says of a process's memory, in MiB. `VmHWM` is the most it ever was. */
export function residentMib({ pid }: { pid: number }, field: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  return (
    Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  )
}

/** A number of the gateway's own metrics. */
export async function gaugeOf(gateway: { port: number }, admin: string, name: string): Promise<number> {
  const { text } = await get(gateway, '/metrics', bearer(admin))
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN)
}
