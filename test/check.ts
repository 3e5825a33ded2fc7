// `npm run check`: lint, types and the tests of what changed against main, committed or not.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { pickTests } from './support/pick-tests.ts'

const ROOT = join(import.meta.dirname, '..')
const BIN = join(ROOT, 'node_modules', '.bin')

const { values: flags } = parseArgs({ options: { against: { type: 'string' }, list: { type: 'boolean' } } })

function git(...args: string[]): string[] | undefined {
  const { status, stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  return status === 0 ? stdout.split('\n').filter(Boolean) : undefined
}

/** Where this branch left the main one; what is not committed counts as well. */
function readChanged(): string[] {
  const mains = flags.against === undefined ? ['main', 'origin/main'] : [flags.against]
  const base = mains.map((main) => git('merge-base', 'HEAD', main)?.[0]).find((found) => found !== undefined)
  if (base === undefined && flags.against !== undefined) throw new Error(`git knows no "${flags.against}"`)
  if (base === undefined)
    console.log('There is no branch "main" here: only what is not committed is looked at.')
  const committed = git('diff', '--name-only', '--no-renames', base ?? 'HEAD') ?? []
  return [...new Set([...committed, ...(git('ls-files', '--others', '--exclude-standard') ?? [])])].toSorted()
}

function readTests(): Map<string, string> {
  const paths = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .map((path) => `test/${path.replaceAll('\\', '/')}`)
    .filter((path) => path.endsWith('.test.ts'))
  return new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]))
}

interface Outcome {
  name: string
  isGood: boolean
  text: string
}

function run(name: string, command: string, args: readonly string[]): Promise<Outcome> {
  const child = spawn(join(BIN, command), args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (more: string) => {
      text += more
    })
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ name, isGood: code === 0, text }))
  })
}

const seconds = (from: number) => `${((performance.now() - from) / 1000).toFixed(1)} s`

async function runOne(name: string, command: string, args: readonly string[]): Promise<boolean> {
  const from = performance.now()
  const { isGood, text } = await run(name, command, args)
  console.log(`${isGood ? 'ok' : 'NOT OK'}  ${name} (${seconds(from)})`)
  if (!isGood) console.log(text)
  return isGood
}

/** Three at a time: tests wait more than they work. What went well is not told. */
async function runTests(tests: readonly string[]): Promise<boolean> {
  if (!existsSync(join(ROOT, '.tap', 'plugins')) && !(await runOne('tap build', 'tap', ['build'])))
    return false
  return runOne(`${tests.length} files of tests`, 'tap', ['run', '--reporter=terse', '--jobs=3', ...tests])
}

const from = performance.now()
const changed = readChanged()
const { tests, notes } = pickTests(changed, readTests())
const rooms = Map.groupBy(tests, (path) => dirname(path))
console.log(`${changed.length} files changed. What runs: lint, types, and of the tests`)
for (const [room, paths] of rooms)
  console.log(`  ${room}/  ${paths.map((path) => basename(path, '.test.ts')).join(' ')}`)
for (const note of notes) console.log(note)
if (!flags.list) {
  const checks = await Promise.all([runOne('lint', 'biome', ['check', '.']), runOne('types', 'tsc', [])])
  const isGood = (tests.length === 0 || (await runTests(tests))) && checks.every(Boolean)
  console.log(`${isGood ? 'All well' : 'Not well'} after ${seconds(from)}`)
  process.exitCode = isGood ? 0 : 1
}
