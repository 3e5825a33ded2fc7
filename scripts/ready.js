// @ts-check
import { isFitNode, sayOldNode, sayWhatIsMissing } from '../src/our-node.js'

// Before the commands of a developer: without the right Node or its packages they would fail in words that help nobody.
if (!isFitNode()) {
  sayOldNode()
  process.exitCode = 1
} else {
  try {
    await import('tap/package.json', { with: { type: 'json' } })
  } catch (error) {
    if (sayWhatIsMissing(error)) process.exitCode = 1
  }
}
