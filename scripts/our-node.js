// @ts-check
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OWN_NODE = join(ROOT, 'node_modules', '.bin', 'node')
const FAILED = 1

/**
 * Runs a command that is written in TypeScript: here, when this Node takes it as it is, else with the Node that
 * `npm ci` has brought. Sets the exit code.
 * @param {() => Promise<{ main(args: string[]): Promise<number> }>} load imports the command
 */
export async function runOnOurNode(load) {
  if (process.features.typescript) {
    const { main } = await load()
    process.exitCode = await main(process.argv.slice(2))
    return
  }
  process.exitCode = FAILED
  if (process.execPath === OWN_NODE || !existsSync(OWN_NODE)) {
    process.stderr.write(
      `This needs Node 24 or later (found ${process.version}): run "npm ci" first, which brings one\n`,
    )
    return
  }
  const [, script = '', ...rest] = process.argv
  const { status, error } = spawnSync(OWN_NODE, [script, ...rest], { stdio: 'inherit' })
  if (error) process.stderr.write(`${OWN_NODE} cannot be started: ${error.message}\n`)
  process.exitCode = status ?? FAILED
}
