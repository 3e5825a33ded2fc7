import { dirname, join, normalize } from 'node:path/posix'

export interface Picked {
  tests: string[]
  /** What the reader should know: which changes have tests that are not run here. */
  notes: string[]
}

/** These have commands of their own, and take minutes. */
const SLOW: Readonly<Record<string, string>> = {
  edge: 'npm run test:edge',
  long: 'npm run test:long',
  torture: 'npm run test:long',
  fuzz: 'npm run test:long',
}
/** A change may break them wherever it is made; they take a second or two. */
const ALWAYS = ['test/house.test.ts', 'test/journeys/plain.test.ts']
/** What the maps are tried with. */
const MAPS = ['plain', 'start', 'lifecycle', 'going-down'].map((name) => `test/journeys/${name}.test.ts`)
/** Rooms whose tests start no gateway, so that all of them together take seconds. */
const NO_UNITS = [...Object.keys(SLOW), 'journeys', 'scripts', 'stores']
const DRIVERS = ['file', 'redis', 'sql']

function folderOf(path: string) {
  return path.split('/')[1] ?? ''
}
function isUnit(path: string) {
  return !NO_UNITS.includes(folderOf(path))
}

/** The files of `tests` (path and text) that speak for `changed` (paths from the root of the repository). */
export function pickTests(changed: readonly string[], tests: ReadonlyMap<string, string>): Picked {
  const all = [...tests.keys()]
  const picked = new Set<string>()
  const notes = new Set<string>()
  const importers = readImporters(tests)
  for (const path of changed) {
    for (const test of testsOf(path, all, importers)) picked.add(test)
    const slow = path.startsWith('test/') ? SLOW[folderOf(path)] : undefined
    if (slow !== undefined) notes.add(`${path} belongs to "${slow}", which is not run here.`)
    if (path.startsWith('test/support/') || path.startsWith('test/contract/'))
      notes.add(`${path} is used by many tests: all unit rooms run here, all others in "npm test".`)
  }
  if (changed.some((path) => /^(src|scripts)\//.test(path))) for (const test of ALWAYS) picked.add(test)
  const runnable = [...picked].filter((path) => tests.has(path) && !(folderOf(path) in SLOW))
  return { tests: runnable.toSorted(), notes: [...notes] }
}

function testsOf(path: string, all: readonly string[], importers: ReadonlyMap<string, string[]>): string[] {
  const [top, room = '', second = ''] = path.split('/')
  if (path.endsWith('.test.ts')) return [path]
  if (top === 'test' && (room === 'support' || room === 'contract')) return all.filter(isUnit)
  // What stands beside the tests of a room is for them.
  if (top === 'test') return all.filter((test) => test.startsWith(`test/${room}/`))
  if (top === 'scripts')
    return all.filter((test) => test.startsWith(`test/scripts/${room.replace(/\.js$/, '')}`))
  if (top !== 'src') return []
  const direct = importers.get(path) ?? []
  if (room === 'stores') return [...direct, ...all.filter((test) => isOfStore(test, second))]
  if (second !== '') return [...direct, ...all.filter((test) => test.startsWith(`test/${room}/`))]
  return [...direct, ...(direct.length > 0 ? [] : MAPS)]
}

/** A driver is tried by the tests with its name and by those that name no driver. */
function isOfStore(test: string, driver: string): boolean {
  if (!test.startsWith('test/stores/')) return false
  const others = DRIVERS.filter((each) => each !== driver)
  return !DRIVERS.includes(driver) || !others.some((other) => test.startsWith(`test/stores/${other}`))
}

/** The unit tests that import each file of `src/` by name. */
function readImporters(tests: ReadonlyMap<string, string>): Map<string, string[]> {
  const importers = new Map<string, string[]>()
  for (const [test, text] of tests) {
    if (!isUnit(test)) continue
    for (const [, to = ''] of text.matchAll(/from '(\.[^']+)'/g)) {
      const path = normalize(join(dirname(test), to))
      importers.set(path, [...(importers.get(path) ?? []), test])
    }
  }
  return importers
}
