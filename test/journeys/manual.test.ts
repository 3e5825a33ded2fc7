import { spawnSync } from 'node:child_process'
import t from 'tap'
import { blocksToRun, MANUAL_PAGES } from '../support/manual.ts'
import { checkOutcomes, openClone, runBlocks } from '../support/manual-shell.ts'
import { startProvider } from '../support/provider.ts'

const hasPython = spawnSync('python3', ['-c', 'import openai, anthropic']).status === 0
if (!hasPython) t.comment('blocks of Python are not run: pip install openai anthropic')
const PYTHON: Record<string, string> = hasPython ? { PYTHON: 'yes' } : {}
const hasSqlite = spawnSync('sqlite3', ['--version']).status === 0
if (!hasSqlite) t.comment('docs/usage.md is not run: apt-get install sqlite3')

t.test('who follows the README reaches an answer, a token, four clients and a real provider', async (t) => {
  const provider = await startProvider(t)
  const edit = `OPENAI_API_KEY=sk-of-a-real-provider\nOPENAI_BASE_URL=${provider.url}\n`
  const clone = await openClone(t, { env: { ...PYTHON, EDIT: edit } })
  const blocks = blocksToRun('README.md')
  const first = blocks.find(({ text }) => text.startsWith('curl') && text.includes('"demo"'))
  if (first === undefined) throw new Error('the README has no first call')
  const real = { ...first, text: first.text.replace('"demo"', '"gpt-4o"') }
  const outcomes = await runBlocks(t, clone, [...blocks, real])
  checkOutcomes(t, outcomes)
  for (const { block, output } of outcomes.filter(({ block }) => /^(js|python)$/.test(block.language)))
    if (block.language === 'js' || hasPython) t.match(output, /Hello!/, `${block.page}:${block.line}`)
  t.match(provider.requests.at(-1), { headers: { authorization: 'Bearer sk-of-a-real-provider' } })
})

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
