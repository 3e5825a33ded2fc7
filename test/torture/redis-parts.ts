import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Findings } from './kills.ts'

const FILES = ['../long/replicas.test.ts', 'redis-outage.test.ts', 'redis-failover.test.ts']

/** The tests of several replicas in their full counts, each in a process of its own. */
export async function tortureRedis(): Promise<Findings> {
  const faults: string[] = []
  const figures: string[] = []
  for (const file of FILES) {
    const child = spawn(process.execPath, [join(import.meta.dirname, file)], {
      env: { ...process.env, TORTURE: 'long' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const closed = once(child, 'close')
    const said = await text(child.stdout)
    const [code] = await closed
    figures.push(...[...said.matchAll(/^ {4}# (?!Subtest)(.+)$/gm)].map(([, figure = '']) => figure))
    faults.push(...[...said.matchAll(/^ *not ok .*$/gm)].map(([line]) => `${file}: ${line.trim()}`))
    if (code !== 0 && faults.length === 0) faults.push(`${file} ended with ${code}`)
  }
  return { faults, figures: figures.join('; ') }
}
