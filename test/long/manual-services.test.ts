import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startGateway, temporaryFolder } from '../support/gateway.ts'
import { blocksToRun, readBlocks } from '../support/manual.ts'
import { checkOutcomes, checkStatuses, openClone, runBlocks } from '../support/manual-shell.ts'
import { unusedPort } from '../support/ports.ts'

const hasSqlite = spawnSync('sqlite3', ['--version']).status === 0
if (!hasSqlite) t.comment('usage rows are not looked at: apt-get install sqlite3')

t.test('who follows the page has a key platform, microservices, and REST with WebSockets', async (t) => {
  const clone = { ...(await openClone(t)), otherPorts: { 3000: await unusedPort() } }
  const [start, mint] = blocksToRun('README.md')
  if (start === undefined || mint === undefined)
    throw new Error('the README does not begin with two commands')
  const page = blocksToRun('docs/services.md').filter(({ text }) => hasSqlite || !text.includes('sqlite3'))
  const outcomes = await runBlocks(t, clone, [start, mint, ...page])
  checkOutcomes(t, outcomes)
  checkStatuses(t, outcomes)
  const said = (words: string) => outcomes.find(({ block }) => block.text.includes(words))?.output ?? ''

  const keyed = said('/proxy/orders/42?expand=lines')
  t.match(keyed, '"url": "/orders/42?expand=lines"')
  t.match(keyed, /"x-internal-api-key": "[\da-f]{64}"/)
  t.match(keyed, '"x-token-user": "testuser"')
  t.notMatch(keyed, /"x-api-key"/, 'the key stays')
  t.match(said('grep -i x-ratelimit'), /x-ratelimit-limit-requests: 2\r?\n/i)
  if (hasSqlite) t.match(said('sqlite3'), /testuser +GET +\/proxy\/orders\/\{id\} +200/)

  const person = said('x-user-id: somebody-else')
  t.match(person, '"url": "/42"')
  t.match(person, '"x-user-id": "user-42"')
  t.match(person, /"x-user-claims": "\{.*\\"role\\":\\"admin\\"/)
  t.notMatch(person, /somebody-else|"authorization"/)
  t.match(said('/health/services'), /user/)

  t.match(said('/get-video-session/7'), '"authorization": "Bearer of-the-backend"')
  const sockets = said('socket.mjs')
  t.match(sockets, '/ws?session_id=test-123 -> {"url":"/ws/test-123"')
  t.match(sockets, '/ws/test-123 -> {"url":"/ws/test-123"')
  t.match(said('Origin: http://localhost:5173'), 'access-control-allow-origin: http://localhost:5173')
})

t.test('each table that the pages show is one that the gateway starts with', async (t) => {
  const pages = ['docs/services.md', 'docs/services-reference.md'].flatMap((page) => readBlocks(page))
  const tables = pages.filter(({ language, text }) => language === 'yaml' && text.includes('services:'))
  t.ok(tables.length > 0)
  for (const { page, line, text } of tables) {
    const modelsFile = join(temporaryFolder(t), 'services.yaml')
    writeFileSync(modelsFile, text)
    const gateway = await startGateway(t, {
      modelsFile,
      env: { JWT_SECRET: 'a-secret-of-the-pages-of-32-letters-and-more' },
    })
    t.equal((await fetch(`${gateway.url}/health`)).status, 200, `${page}:${line}`)
    await gateway.stop()
  }
})
