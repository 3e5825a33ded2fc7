import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { parse } from 'yaml'
import { readEnvText, unwrap } from '../../src/config/env/env-text.js'
import { ENV_CASES, type EnvCase } from '../support/env-cases.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { findComposes } from './support/engine.ts'
import { run } from './support/shell.ts'

type Values = Record<string, string>
interface Reading {
  /** The variables of the container. */
  filled: Values
  /** What stands for `${NAME}` in the compose file, which is how the edge gets its settings. */
  inserted?: Values
}
/** What a reader took the file for; undefined: it refused it. */
type Read = (folder: string) => Promise<Reading | undefined>

const IMAGE = 'debian:bookworm-slim'
const composes = await findComposes()
const hasEngine = (await run('docker', ['image', 'inspect', IMAGE])).code === 0

const plain = (values: Values): Values =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, String(value ?? '').replaceAll('$$', '$')]),
  )

const readByCompose =
  ([command = '', ...first]: readonly string[]): Read =>
  async (folder) => {
    const { code, stdout } = await run(command, [...first, '--env-file', '.env', 'config'], { cwd: folder })
    if (code !== 0) return undefined
    const { services } = parse(stdout) as { services: { x: { environment?: Values; labels?: Values } } }
    const { environment = {}, labels = {} } = services.x
    return { filled: plain(environment), inserted: plain(labels) }
  }

const readByDocker: Read = async (folder) => {
  const created = await run('docker', ['create', '--env-file', '.env', IMAGE, 'true'], { cwd: folder })
  if (created.code !== 0) return undefined
  const id = created.stdout.trim()
  const { stdout } = await run('docker', ['inspect', '-f', '{{json .Config.Env}}', id])
  await run('docker', ['rm', id])
  const pairs: string[] = JSON.parse(stdout)
  const filled = pairs
    .map((pair): [string, string] => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)])
    .filter(([name]) => name !== 'PATH')
  return { filled: Object.fromEntries(filled) }
}

const readers: [string, Read][] = [
  ...composes.map((compose): [string, Read] => [compose.join(' '), readByCompose(compose)]),
  ...(hasEngine ? [['docker run --env-file', readByDocker] as [string, Read]] : []),
]
if (readers.length < 2)
  t.plan(0, 'fewer than two of Compose 1, Compose 2 and Docker here: nothing to compare')

/** The same, with a container's variables as the gateway in it takes them, by their names. */
function asTheGateway(reading: Reading | undefined): Reading | undefined {
  if (reading === undefined) return undefined
  const pairs = Object.entries(reading.filled).map(([name, value]): [string, string] => [name, unwrap(value)])
  return { ...reading, filled: Object.fromEntries(pairs.toSorted(([a], [b]) => (a < b ? -1 : 1))) }
}

/** The edge takes a value for the same as the gateway. */
function insertsWhatItFills({ filled, inserted = {} }: Reading): boolean {
  return Object.entries(inserted).every(([name, value]) => value === (filled[name] ?? ''))
}

function write(folder: string, { file, means = { PORT: '', ADMIN_FIRST: '' } }: EnvCase): void {
  const names = Object.keys(means).filter((name) => /^[A-Za-z_]\w*$/.test(name))
  const labels = Object.fromEntries(names.map((name) => [name, `\${${name}-}`]))
  writeFileSync(join(folder, '.env'), file)
  const service = { image: IMAGE, env_file: ['.env'], labels }
  writeFileSync(join(folder, 'docker-compose.yml'), JSON.stringify({ services: { x: service } }))
}

for (const each of readers.length < 2 ? [] : ENV_CASES)
  t.test(`${each.what}: ${each.means ? 'one meaning' : 'refused, with reason'}`, async (t) => {
    const folder = temporaryFolder(t, 'gw-env-')
    write(folder, each)
    const said = await Promise.all(readers.map(async ([, read]) => asTheGateway(await read(folder))))
    if (each.means) {
      for (const [index, reading] of said.entries()) {
        const reader = String(readers[index]?.[0])
        t.same(reading?.filled, each.means, reader)
        for (const [name, value] of Object.entries(reading?.inserted ?? {}))
          t.equal(value, each.means[name], `${reader} inserts ${name}`)
      }
      return
    }
    const areOne = (key: keyof Reading) =>
      new Set(said.map((reading) => JSON.stringify(reading?.[key])).filter(Boolean)).size === 1
    const isOne =
      said.every((reading) => reading !== undefined && insertsWhatItFills(reading)) &&
      areOne('filled') &&
      areOne('inserted')
    t.equal(isOne, each.isAgreed ?? false, JSON.stringify(said).slice(0, 2000))
  })

const PIECES = [
  ...[
    'a',
    'B3',
    'x y',
    ' ',
    '  ',
    '\t',
    '#',
    ' #',
    ' # c',
    '"',
    "'",
    '$',
    '$$',
    `\${A}`,
    '$1',
    '$A',
    '$(',
    '{',
    '}',
  ],
  ...[
    '=',
    ':',
    '\\',
    '\\n',
    '\\"',
    '`',
    '!',
    '%20',
    '&',
    ';',
    '/',
    '~',
    '@',
    ',',
    '.',
    '"a"',
    "'b'",
    '#"',
    '"#',
  ],
  ...["it's", "''", '""', 'export ', '\u00E9', '\u65E5', '\u{1F600}', '\u0301', '\u00A0', '\u200B', '\uFEFF'],
]
const pieces = fc.array(fc.constantFrom(...PIECES), { minLength: 1, maxLength: 6 }).map((all) => all.join(''))
const written = fc.oneof(
  pieces,
  pieces.map((text) => `"${text}"`),
  pieces.map((text) => `'${text}'`),
  pieces.map((text) => ` ${text} # note`),
)

t.test('of lines at random, those that the gateway takes mean the same to all', async (t) => {
  if (readers.length < 2) return
  const means: Values = {}
  let file = ''
  for (const [index, text] of fc.sample(written, { numRuns: 600, seed: 14 }).entries()) {
    const line = `N${index}=${text}`
    const { values, mistakes } = readEnvText(Buffer.from(line), () => true)
    if (mistakes.length > 0) continue
    file += `${line}\n`
    Object.assign(means, values)
  }
  t.ok(Object.keys(means).length > 100, `${Object.keys(means).length} lines`)
  const folder = temporaryFolder(t, 'gw-env-')
  write(folder, { what: 'lines at random', file, means })
  for (const [name, read] of readers) {
    const reading = asTheGateway(await read(folder))
    t.same(reading?.filled, means, name)
    if (reading?.inserted !== undefined) t.same(reading.inserted, means, `${name} inserts`)
  }
})
