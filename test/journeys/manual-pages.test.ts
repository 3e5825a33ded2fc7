import { spawnSync } from 'node:child_process'
import t from 'tap'
import { blocksToRun, MANUAL_PAGES } from '../support/manual.ts'
import { checkOutcomes, openClone, runBlocks } from '../support/manual-shell.ts'

const hasSqlite = spawnSync('sqlite3', ['--version']).status === 0
if (!hasSqlite) t.comment('docs/usage.md is not run: apt-get install sqlite3')

// The README is run by itself, so are the services; the clients by test/long/manual.test.ts.
const ELSEWHERE = [
  'README.md',
  'docs/services.md',
  'docs/clients.md',
  ...(hasSqlite ? [] : ['docs/usage.md']),
]

t.test('every other page does what it says', async (t) => {
  const clone = await openClone(t)
  const [start, mint] = blocksToRun('README.md')
  if (start === undefined || mint === undefined)
    throw new Error('the README does not begin with two commands')
  const pages = MANUAL_PAGES.filter((page) => !ELSEWHERE.includes(page)).map(blocksToRun)
  checkOutcomes(t, await runBlocks(t, clone, [start, mint, ...pages.flat()]))
})
