// @ts-check
import nodeModule from 'node:module'
import { EXIT_CONFIG, handOver, isFitNode, ROOT, sayWhatIsMissing } from './our-node.js'

// This file and what it imports at once are no TypeScript and older than the rest: every Node reads them, and those that
// cannot read on are sent to the right one.
if (isFitNode()) await serve()
else await handOver(EXIT_CONFIG)

async function serve() {
  // From the second start on the sources are neither stripped nor compiled again; where nothing may be written, they are.
  nodeModule.enableCompileCache(`${ROOT}node_modules/.cache/node`)
  try {
    // It listens before anything else is loaded: who is told to end while it starts ends well.
    const { Signals } = await import('./signals.ts')
    const signals = new Signals(process.env)
    const { start } = await import('./process.ts')
    await start(signals)
  } catch (error) {
    if (!sayWhatIsMissing(error)) throw error
    process.exit(EXIT_CONFIG)
  }
}
