import { join } from 'node:path'
import t from 'tap'
import { withoutPrlimit } from '../support/descriptors.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { bareEnv, runProcess } from '../support/process.ts'

const MODULE = join(import.meta.dirname, '..', '..', 'src', 'upstream', 'own-fault.ts')
const skip = withoutPrlimit()
const PROGRAM = `
  import { closeSync, openSync } from 'node:fs'
  import { ownFaultBehind } from ${JSON.stringify(MODULE)}
  const codeOf = (code) => ownFaultBehind(Object.assign(new Error(), { code })).code
  const free = [codeOf('EAI_AGAIN'), codeOf('ECONNRESET')]
  const open = []
  try { for (;;) open.push(openSync('/dev/null')) } catch {}
  const full = [codeOf('EAI_AGAIN'), codeOf('ENOTFOUND'), codeOf('ECONNRESET')]
  for (const file of open) closeSync(file)
  console.log(JSON.stringify([free, full, [codeOf('EAI_AGAIN')]]))
`

t.test('a resolver that could open no socket of its own speaks of our limit', { skip }, async (test) => {
  const { stdout, stderr } = await runProcess(test, {
    command: 'prlimit',
    args: ['--nofile=64:64', process.execPath, '--input-type=module', '-e', PROGRAM],
    env: bareEnv(),
    cwd: temporaryFolder(test),
  })
  test.equal(stderr, '')
  test.same(JSON.parse(stdout), [
    ['EAI_AGAIN', 'ECONNRESET'],
    ['EMFILE', 'EMFILE', 'ECONNRESET'],
    ['EAI_AGAIN'],
  ])
})
