import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { MANUAL_PAGES, readBlocks } from '../support/manual.ts'
import { type BlockOutcome, type Clone, cloneHere, runBlocks } from '../support/manual-shell.ts'
import { startProvider } from '../support/provider.ts'

const RUN = ['bash', 'js', 'python']
const hasPython = spawnSync('python3', ['-c', 'import openai, anthropic']).status === 0
if (!hasPython) t.comment('blocks of Python are not run: pip install openai anthropic')
const hasSqlite = spawnSync('sqlite3', ['--version']).status === 0
if (!hasSqlite) t.comment('docs/usage.md is not run: apt-get install sqlite3')

const blocksToRun = (page: string) =>
  readBlocks(page).filter(({ language, whyNot }) => RUN.includes(language) && whyNot === undefined)

/** A clone whose server ends with the test. */
async function openClone(t: Test, env: Record<string, string> = {}): Promise<Clone> {
  const folder = temporaryFolder(t, 'gw-manual-')
  const clone = await cloneHere(folder)
  t.teardown(() => {
    const file = join(folder, 'server.pid')
    if (existsSync(file)) process.kill(-Number(readFileSync(file, 'utf8')), 'SIGKILL')
  })
  return { ...clone, env: { ...clone.env, ...(hasPython ? { PYTHON: 'yes' } : {}), ...env } }
}

function checkOutcomes(t: Test, outcomes: readonly BlockOutcome[]): void {
  for (const { block, code, output } of outcomes) {
    const isGood = code.trim() === '0'
    t.ok(
      isGood,
      `${block.page}:${block.line} ${block.language}`,
      isGood ? {} : { code, output, text: block.text },
    )
    if (!isGood) return
  }
}

t.test('who follows the README reaches an answer, a token, four clients and a real provider', async (t) => {
  const provider = await startProvider(t)
  const edit = `OPENAI_API_KEY=sk-of-a-real-provider\nOPENAI_BASE_URL=${provider.url}\n`
  const clone = await openClone(t, { EDIT: edit })
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
  const clone = await openClone(t)
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
