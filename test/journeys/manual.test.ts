import { spawnSync } from 'node:child_process'
import t from 'tap'
import { blocksToRun } from '../support/manual.ts'
import { checkOutcomes, openClone, runBlocks } from '../support/manual-shell.ts'
import { startProvider } from '../support/provider.ts'

const hasPython = spawnSync('python3', ['-c', 'import openai, anthropic']).status === 0
if (!hasPython) t.comment('blocks of Python are not run: pip install openai anthropic')
const PYTHON: Record<string, string> = hasPython ? { PYTHON: 'yes' } : {}

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
