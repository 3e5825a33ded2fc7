import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { startGateway, temporaryFolder } from '../support/gateway.ts'

/** What only a models file, a passed-through path, Redis or a replica's database need. */
const SELDOM = ['yaml', 'undici', '@fastify/http-proxy', 'ioredis', 'kysely', 'pg', 'jose']
/** What Fastify loads for routes with schemas when nobody gives it compilers. */
const COMPILERS = ['ajv', '@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler']

t.test('a plain start loads nothing that it does not use', async (t) => {
  const MODULE_LOG = join(temporaryFolder(t), 'modules')
  const hook = pathToFileURL(join(import.meta.dirname, '..', 'support', 'module-log.ts')).href
  const gateway = await startGateway(t, { env: { MODULE_LOG, NODE_OPTIONS: `--import ${hook}` } })
  t.equal((await fetch(`${gateway.url}/health`)).status, 200)
  await gateway.stop()
  const loaded = readFileSync(MODULE_LOG, 'utf8')
  t.match(loaded, /\/node_modules\/fastify\//)
  for (const name of [...SELDOM, ...COMPILERS]) t.notMatch(loaded, `/node_modules/${name}/`, name)
  t.match(loaded, /^NativeModule http$/m)
  t.notMatch(loaded, /deps\/undici/, 'an import of node:http would load it')
})
