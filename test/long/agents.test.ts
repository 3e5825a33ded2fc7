import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { LLMock } from '@copilotkit/aimock'
import t, { type Test } from 'tap'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { readBlocks } from '../support/manual.ts'
import { registryEnv } from '../support/manual-shell.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { bareEnv, startProcess } from '../support/process.ts'

const PACKAGES = ['@anthropic-ai/claude-code@2.1.332', '@openai/codex@0.171.0', '@qwen-code/qwen-code@0.24.4']
const PAGE = readFileSync(join(import.meta.dirname, '../../docs/clients.md'), 'utf8')
const ANSWER = 'Hello from behind the gateway.'

/** The block of the page that has these words. */
function blockWith(words: string): string {
  const found = readBlocks('docs/clients.md').find(({ text }) => text.includes(words))
  if (found === undefined) throw new Error(`docs/clients.md has no block with "${words}"`)
  return found.text
}

/** A shell with the agents, a home of its own and a gateway on whatever port it has. */
async function openShell(t: Test, folder: string) {
  const mock = new LLMock({ port: 0, host: '127.0.0.1', strict: true })
  mock.addFixture({ match: { predicate: () => true }, response: { content: ANSWER } })
  await mock.start()
  t.teardown(() => mock.stop())
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, {
      providers: {
        mock: `${mock.url}/v1`,
        claude: { baseUrl: `${mock.url}/v1`, keyEnv: 'CLAUDE_TEST_KEY', dialect: 'anthropic' },
      },
      models: { 'claude-*': 'claude', '*': 'mock' },
    }),
    env: providerKeys('mock', 'claude'),
  })
  const token = await mintToken(t, gateway, { credits: 5_000_000, perMinute: 600 })
  const here = (text: string) => text.replaceAll('localhost:8088', `localhost:${gateway.port}`)
  const env: Record<string, string> = {
    HOME: folder,
    TOKEN: token,
    PATH: [join(folder, 'node_modules/.bin'), dirname(process.execPath), process.env.PATH].join(':'),
  }
  const run = (text: string) =>
    startProcess(t, { command: 'bash', args: ['-c', here(text)], env, cwd: folder }).exited
  const save = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), here(text))
  }
  return { run, save }
}

t.test('agents answer with what the page of clients has them set', async (t) => {
  const folder = temporaryFolder(t, 'gw-agents-')
  writeFileSync(join(folder, 'package.json'), '{"private":true}')
  const installed = await startProcess(t, {
    command: 'npm',
    args: ['i', '-E', '--no-audit', '--no-fund', '--loglevel=error', '--fetch-retries=1', ...PACKAGES],
    env: { ...bareEnv(), ...registryEnv() },
    cwd: folder,
  }).exited
  if (installed.code !== 0)
    return t.pass('left out', { skip: `no registry gives the agents: ${installed.stderr.slice(0, 300)}` })
  const { run, save } = await openShell(t, folder)

  save('.codex/config.toml', blockWith('wire_api'))
  const [, settings = ''] = /with `(\{.*?\})` in `~\/\.qwen/.exec(PAGE) ?? []
  save('.qwen/settings.json', settings)
  const codex = blockWith('codex exec').replace('codex exec', 'codex exec --skip-git-repo-check')
  for (const commands of [blockWith('claude -p'), codex, blockWith('qwen -p')]) {
    const seen = await run(commands)
    t.match(seen, { code: 0, stdout: ANSWER }, commands)
  }
})
