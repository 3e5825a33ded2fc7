import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './gateway.ts'
import type { Owner } from './waiting.ts'

/** Loaded before the server: the wall clock as somebody sets it, while the monotonic one goes on. */
const CLOCK = `
import { readFileSync } from 'node:fs'
const real = Date.now
const path = process.env.CLOCK_STEP_FILE
Date.now = () => real() + Number(readFileSync(path, 'utf8'))
`

/** The environment of a gateway whose wall clock can be set. */
export function steppedClock(t: Owner): { env: Record<string, string>; step(ms: number): void } {
  const dir = temporaryFolder(t, 'gw-clock-')
  const [module, path] = [join(dir, 'clock.mjs'), join(dir, 'step')]
  const step = (ms: number) => writeFileSync(path, String(ms))
  writeFileSync(module, CLOCK)
  step(0)
  return { env: { NODE_OPTIONS: `--import=${module}`, CLOCK_STEP_FILE: path }, step }
}
