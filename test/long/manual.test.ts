import { spawnSync } from 'node:child_process'
import t from 'tap'
import { blocksToRun } from '../support/manual.ts'
import { checkOutcomes, openClone, runBlocks } from '../support/manual-shell.ts'
import { startProvider } from '../support/provider.ts'

const hasRegistry = spawnSync('npm', ['view', 'openai', 'version'], { timeout: 30_000 }).status === 0
const hasVenv = spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0
const skip = !hasRegistry
  ? 'no registry of npm can be reached'
  : !hasVenv && 'python3 has no venv: apt-get install python3-venv'

t.test('the README and the clients, with their packages from the registries', { skip }, async (t) => {
  const provider = await startProvider(t)
  const edit = `OPENAI_API_KEY=sk-of-a-real-provider\nOPENAI_BASE_URL=${provider.url}\n`
  const clone = await openClone(t, { packages: 'real', env: { EDIT: edit } })
  const readme = blocksToRun('README.md')
  const [start, mint] = readme
  if (start === undefined || mint === undefined)
    throw new Error('the README does not begin with two commands')
  checkOutcomes(t, await runBlocks(t, clone, [start, mint, ...blocksToRun('docs/clients.md')]))
  const venv = { ...mint, text: `python3 -m venv ../own && . ../own/bin/activate && pip install -q openai\n` }
  const outcomes = await runBlocks(t, clone, [venv, ...readme])
  checkOutcomes(t, outcomes)
  for (const { block, output } of outcomes.filter(({ block }) => /^(js|python)$/.test(block.language)))
    t.match(output, /Hello!/, `${block.page}:${block.line}`)
})
