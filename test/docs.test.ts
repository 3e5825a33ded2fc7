import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { PAID_ENDPOINTS } from '../src/config/endpoints.ts'
import { serviceWords } from '../src/config/env/words/services.js'
import { MANUAL_PAGES, readBlocks, whyNotRun } from './support/manual.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const PAGES = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => `docs/${path.replaceAll('\\', '/')}`),
]

/** As GitHub names a heading. */
function anchorsOf(text: string): string[] {
  return Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}

t.test('every link of the pages leads to a file that is there, and to a heading of it', async (t) => {
  for (const page of PAGES) {
    const links = Array.from(read(page).matchAll(/\]\(([^)\s]+)\)/g), ([, link = '']) => link)
    for (const link of links.filter((each) => !each.startsWith('http'))) {
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? page : join(dirname(page), path)
      t.ok(existsSync(join(ROOT, target)), `${page}: ${link}`)
      if (anchor !== undefined) t.ok(anchorsOf(read(target)).includes(anchor), `${page}: ${link}`)
    }
  }
})

t.test('a section of the contract that code cites is in the contract', async (t) => {
  const sections = Array.from(read('docs/contract.md').matchAll(/^## (\d+)\. /gm), ([, number]) => number)
  t.strictSame(
    sections,
    sections.map((_, index) => String(index + 1)),
  )
  for (const folder of ['src', 'test', 'scripts', 'bench'])
    for (const path of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
      if (!/\.(ts|js)$/.test(path)) continue
      for (const [, number] of read(join(folder, path)).matchAll(/\bcontract, section (\d+)/g))
        t.ok(sections.includes(number), `${path} cites section ${number}`)
    }
})

t.test('a page says first what its reader can do after it, and the README is short', async (t) => {
  for (const page of PAGES.filter((path) => path.startsWith('docs/') && !/decisions\/\d/.test(path)))
    t.match(read(page), /^# [^\n]+\n\nAfter this page /, page)
  t.ok(read('README.md').split('\n').length <= 151, 'at most 150 lines')
})

t.test('every page is linked from the README, or from one that is', async (t) => {
  const seen = new Set(['README.md'])
  for (const page of seen)
    for (const [, link = ''] of read(page).matchAll(/\]\(([^)\s#]+\.md)(?:#[^)]*)?\)/g))
      if (!link.startsWith('http')) seen.add(join(dirname(page), link))
  t.strictSame(
    PAGES.filter((page) => !seen.has(page)),
    [],
  )
})

t.test('every block is run by the test of the manual, is read by one, or says why not', async (t) => {
  const kinds: Record<string, (text: string) => unknown> = {
    ...{ bash: String, js: String, python: String },
    json: (text) => JSON.parse(text),
    yaml: (text) => parse(text),
    env: checkSettings,
  }
  for (const page of MANUAL_PAGES)
    for (const { line, language, text, whyNot } of readBlocks(page)) {
      const read = kinds[language]
      if (PICTURES.includes(language) || whyNotRun({ language, text, whyNot }) !== undefined) continue
      t.ok(read, `${page}:${line}: a block of ${language} is run, or "not run: why" stands above it`)
      t.doesNotThrow(() => read?.(text), `${page}:${line}`)
    }
})

/** Pictures and what a program said have no commands in them. */
const PICTURES = ['', 'mermaid']

function checkSettings(text: string): void {
  const settings = read('docs/settings.md')
  for (const [, name = ''] of text.matchAll(/^([^=#\n]+)=/gm))
    if (!settings.includes(`\`${name.replace(/_FILE$/, '')}\``)) throw new Error(`${name} is no setting`)
}

t.test('every paid endpoint is told of', async (t) => {
  const text = read('docs/client-api.md')
  const settings = read('docs/settings.md')
  for (const { path } of PAID_ENDPOINTS) {
    const names = [`/v1${path}\``, `\`${path.slice(1)}\``, `\`${path.split('/').at(-1)}\``]
    t.ok(
      names.some((name) => text.includes(name)),
      path,
    )
  }
  for (const [, name = ''] of read('.env.example').matchAll(/^#? ?([A-Z][A-Z\d_]+)=/gm))
    if (read('src/config/env/plain-settings.ts').includes(`'${name}'`))
      t.ok(settings.includes(`\`${name}\``), name)
})

t.test('every file that contributors are sent to is there', async (t) => {
  for (const page of ['CONTRIBUTING.md', 'docs/architecture.md'])
    for (const [, path = ''] of read(page).matchAll(/`((?:src|test|scripts|bench)\/[\w./-]+)`/g))
      t.ok(existsSync(join(ROOT, path)), `${page}: ${path}`)
})

t.test('every setting of services reaches the container of development', async (t) => {
  const [group] = serviceWords
  const names = Object.keys(group?.settings ?? {})
  const ofEach = names.map((name) => name.replace(/_SERVICE_URL$/, '_SERVICE_PUBLIC'))
  const compose = read('docker-compose.yml')
  t.ok(names.length > 15)
  for (const name of new Set([...names, ...ofEach]))
    t.match(compose, `\n      ${name}: \${${name}:-}\n`, name)
})

t.test('an example names the timeout that its services have', async (t) => {
  const folder = 'examples/r1-rest-and-websocket'
  for (const file of ['README.md', '.env.example']) {
    t.match(read(join(folder, file)), 'FIRST_BYTE_TIMEOUT_MS', file)
    t.notMatch(read(join(folder, file)), 'ANSWER_TIMEOUT_MS', `${file}: that is of providers`)
  }
})

t.test('no change is told twice', async (t) => {
  const changes = read('CHANGELOG.md').split(/^\* /m).slice(1)
  t.same(
    changes.filter((change, index) => changes.indexOf(change) !== index),
    [],
  )
})
