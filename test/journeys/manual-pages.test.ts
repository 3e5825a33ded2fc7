import { spawnSync } from 'node:child_process'
import t from 'tap'
import { blocksToRun, MANUAL_PAGES } from '../support/manual.ts'
import { checkOutcomes, openClone, runBlocks } from '../support/manual-shell.ts'

const hasPython = spawnSync('python3', ['-c', 'import openai, anthropic']).status === 0
if (!hasPython) t.comment('blocks of Python are not run: pip install openai anthropic')
const PYTHON: Record<string, string> = hasPython ? { PYTHON: 'yes' } : {}
const hasSqlite = spawnSync('sqlite3', ['--version']).status === 0
if (!hasSqlite) t.comment('docs/usage.md is not run: apt-get install sqlite3')

t.test('every other page does what it says', async (t) => {
  const clone = await openClone(t, { env: PYTHON })
  const pages = MANUAL_PAGES.filter((page) => page !== 'README.md' && (page !== 'docs/usage.md' || hasSqlite))
  const [start, mint] = blocksToRun('README.md')
  if (start === undefined || mint === undefined)
    throw new Error('the README does not begin with two commands')
  checkOutcomes(t, await runBlocks(t, clone, [start]))
  for (const page of pages) {
    const blocks = blocksToRun(page)
    if (blocks.length > 0) checkOutcomes(t, await runBlocks(t, clone, [mint, ...blocks]))
  }
})
