// @ts-check
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OWN_NODE = join(ROOT, 'node_modules', '.bin', 'node')
const FAILED = 1

/** Whether this Node runs the gateway's sources as they are. */
const runsTypeScript = Boolean(process.features.typescript)

if (runsTypeScript) {
  const { main } = await import('./ledger-check/main.ts')
  process.exitCode = await main(process.argv.slice(2))
} else if (process.execPath === OWN_NODE || !existsSync(OWN_NODE)) {
  process.stderr.write(
    `This needs Node 24 or later (found ${process.version}): run "npm ci" first, which brings one\n`,
  )
  process.exitCode = FAILED
} else {
  const [, script = '', ...rest] = process.argv
  const { status, error } = spawnSync(OWN_NODE, [script, ...rest], { stdio: 'inherit' })
  if (error) process.stderr.write(`${OWN_NODE} cannot be started: ${error.message}\n`)
  process.exitCode = status ?? FAILED
}
