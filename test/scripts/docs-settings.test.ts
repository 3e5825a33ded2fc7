import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildExample, buildTables, describe, MARK } from '../../scripts/docs-settings/pages.ts'
import { KNOWN_PROVIDERS } from '../../src/config/catalog/providers.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { knownNames, WORDS } from '../../src/config/env/words/words.js'

const ROOT = join(import.meta.dirname, '..', '..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const STALE = 'is made of src/config/env/words/: npm run docs:settings'

t.test('docs/settings.md and .env.example are what the words of the settings make of them', async (t) => {
  t.equal(read('.env.example'), buildExample(), `.env.example ${STALE}`)
  const [, tables] = read('docs/settings.md').split(MARK)
  t.equal(tables, `\n${buildTables()}`, `docs/settings.md ${STALE}`)
})

/** Every variable that the gateway asks for, by asking. */
function askedByTheGateway(): Set<string> {
  const asked = new Set<string>()
  // Some are asked for where another is set alone.
  const said: Record<string, string> = { HTTPS_PROXY: 'http://proxy:1', REDIS_URL: 'redis://a' }
  for (const { keyVariable } of KNOWN_PROVIDERS) said[keyVariable] = 'sk-1'
  const listener = new Proxy(said, {
    get(target, name) {
      asked.add(String(name))
      return Reflect.get(target, name)
    },
  })
  readSettings(listener)
  return asked
}

/** Set by our own scripts and the image, not by operators. */
const OWN = new Set([
  ...['DOCKER_VERSION', 'COMPOSE_VERSION', 'TRAEFIK_RUNNING', 'CERTIFICATE_RETRY_SECONDS'],
  'EDGE_CERTIFICATES',
  'HANDED_OVER_BY',
])

function askedByFiles(): Set<string> {
  const asked = new Set<string>()
  const note = (text: string, pattern: RegExp) => {
    for (const [, name = ''] of text.matchAll(pattern)) if (!OWN.has(name)) asked.add(name)
  }
  for (const path of readdirSync(ROOT).filter((name) => /^docker-compose.*\.yml$/.test(name)))
    note(read(path), /\$\{([A-Za-z_][A-Za-z0-9_]+)/g)
  for (const path of readdirSync(join(ROOT, 'edge'), { encoding: 'utf8' }).filter((name) =>
    name.endsWith('.yml'),
  ))
    note(read(`edge/${path}`), /\benv "([A-Z0-9_]+)"/g)
  for (const folder of ['src', 'scripts'])
    for (const path of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }))
      if (/\.(ts|js)$/.test(path)) note(read(join(folder, path)), /\benv\.([A-Z][A-Z0-9_]+)/g)
  return asked
}

t.test('every variable that the gateway or a compose file asks for has its words', async (t) => {
  const known = knownNames()
  const asked = [...askedByTheGateway(), ...askedByFiles()]
  t.ok(asked.length > 80, `${asked.length} are asked for`)
  for (const name of asked)
    t.ok(
      known.has(name) || (name.endsWith('_FILE') && !known.has(name.slice(0, -5))),
      `${name} has its words`,
    )
})

t.test('no words are left of a setting that nobody asks for', async (t) => {
  const asked = new Set([...askedByTheGateway(), ...askedByFiles(), 'COMPOSE_FILE'])
  for (const name of knownNames()) t.ok(asked.has(name), name)
})

t.test('each setting is told of once, in whole words', async (t) => {
  const rows = WORDS.flatMap(describe)
  const names = rows.flatMap(({ name, also = [] }) => [name, ...also])
  t.equal(new Set(names).size, names.length)
  for (const { name, means, expects, unset } of rows) {
    t.match(means, /^$|\.$/, `${name}: its meaning is a sentence`)
    for (const text of [means, expects, unset]) t.notMatch(text, /[|\n]/, `${name} fits into a table`)
  }
})
