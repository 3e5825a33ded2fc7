// @ts-check
import { handOver, isFitNode, sayWhatIsMissing } from '../src/our-node.js'

const FAILED = 1

/**
 * Runs a command that is written in TypeScript: here, when this Node takes it as it is, else with the Node that
 * `npm ci` has brought. Sets the exit code.
 * @param {() => Promise<{ main(args: string[]): Promise<number> }>} load imports the command
 */
export async function runOnOurNode(load) {
  if (!isFitNode()) return handOver(FAILED)
  try {
    const { main } = await load()
    process.exitCode = await main(process.argv.slice(2))
  } catch (error) {
    if (!sayWhatIsMissing(error)) throw error
    process.exitCode = FAILED
  }
}
