import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { bareEnv, runProcess } from '../support/process.ts'

const SCRIPT = join(import.meta.dirname, '../../scripts/audit.js')
const PACKAGES = { shipped: '1.0.0', tooling: '1.0.0' }
const ADVISORIES = '/-/npm/v1/security/advisories/bulk'

/** A registry with two packages, each of which it knows one thing against; `severity: undefined`: it answers no such question. */
async function startRegistry(t: Test, severity: Record<string, string> | undefined): Promise<string> {
  const server = createServer(({ url = '' }, response) => {
    if (url === ADVISORIES && severity === undefined) return response.writeHead(405).end()
    if (url === ADVISORIES) return response.end(JSON.stringify(advisories(severity ?? {})))
    const name = url.slice(1)
    const versions = { '1.0.0': { name, version: '1.0.0' } }
    return response.end(JSON.stringify({ name, versions, 'dist-tags': { latest: '1.0.0' } }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const advisories = (severity: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(severity).map(([name, level], id) => [
      name,
      [
        {
          id: id + 1,
          url: `https://advisories.test/${name}`,
          title: `Hole in ${name}`,
          severity: level,
          vulnerable_versions: '<2.0.0',
        },
      ],
    ]),
  )

/** A project with one package of production and one for development. */
function openProject(t: Test): string {
  const folder = temporaryFolder(t, 'gw-audit-')
  const { shipped, tooling } = PACKAGES
  const project = { name: 'x', version: '1.0.0', dependencies: { shipped }, devDependencies: { tooling } }
  const packages = {
    '': project,
    'node_modules/shipped': { version: shipped },
    'node_modules/tooling': { version: tooling, dev: true },
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(project))
  writeFileSync(
    join(folder, 'package-lock.json'),
    JSON.stringify({ ...project, lockfileVersion: 3, packages }),
  )
  return folder
}

async function audit(t: Test, severity: Record<string, string> | undefined) {
  const folder = openProject(t)
  const registry = await startRegistry(t, severity)
  const env = {
    ...bareEnv(),
    npm_config_registry: registry,
    npm_config_cache: folder,
    npm_config_fetch_retries: '0',
  }
  const { code, stdout } = await runProcess(t, { args: [SCRIPT, folder], env, cwd: folder })
  return { code, stdout }
}

t.test('an advisory of severity high or critical for a package of production fails', async (t) => {
  for (const level of ['high', 'critical']) {
    const { code, stdout } = await audit(t, { shipped: level })
    t.equal(code, 1, stdout)
    t.match(stdout, new RegExp(`✗ ${level}: shipped .*Hole in shipped https://advisories.test/shipped`))
  }
})

t.test('lesser ones, and those of tools for development, do not', async (t) => {
  const { code, stdout } = await audit(t, { shipped: 'moderate', tooling: 'critical' })
  t.equal(code, 0, stdout)
  t.match(stdout, /^✓ no advisory of severity high or critical/)
})

t.test('a registry that knows no advisories is one line and no failure', async (t) => {
  const { code, stdout } = await audit(t, undefined)
  t.equal(code, 0)
  t.match(stdout, /^- skipped: the registry gave no advisories \(405 .*\)\n$/)
})
