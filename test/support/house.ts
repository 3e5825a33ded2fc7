import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { join as joinPath, normalize } from 'node:path/posix'

const ROOT = join(import.meta.dirname, '..', '..')
/** These rooms have a second level: each folder in them is a room of its own. */
const TWO_LEVELS = ['config', 'stores', 'telemetry']

export interface Import {
  /** Below `src/`. */
  to: string
  isType: boolean
  /** Named as the file of a thread, not imported. */
  isThread?: boolean
}

export interface SourceFile {
  /** Below `src/`, with slashes. */
  path: string
  lines: number
  imports: readonly Import[]
}

/** Who may be imported by a room; a room, or one file of it. */
export interface Wall {
  may: readonly string[]
  /** Only by `import type`. */
  types?: readonly string[]
  why: string
}

export type Walls = Record<string, Wall>

/** All sources below `src/`, with what they import of each other. */
export function readHouse(folder = join(ROOT, 'src')): SourceFile[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => /\.(ts|js|lua)$/.test(path))
    .filter((path) => !path.startsWith('db/') && !path.startsWith('logs/'))
    .toSorted()
    .map((path) => readSource(path, readFileSync(join(folder, path), 'utf8')))
}

export function readSource(path: string, text: string): SourceFile {
  return {
    path,
    lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0),
    imports: readImports(path, text),
  }
}

const STATEMENT = /^(?:import|export)\s+(type\s+)?(?:[\w*{][^'"`;=()]*?\sfrom\s+)?'(\.[^']+)'/gm
const EXPRESSION = /(typeof )?import\(\s*'(\.[^']+)'\s*\)/g
/** How a thread's file is named. */
const WORKER = /new URL\('(\.[^']+\.ts)'/g

function readImports(path: string, text: string): Import[] {
  const resolve = (to: string) => normalize(joinPath(dirname(path), to))
  const code = text.replace(/^\s*(\/\/|\*|\/\*\*).*$/gm, '')
  const found = (pattern: RegExp) => Array.from(code.matchAll(pattern))
  return [
    ...[...found(STATEMENT), ...found(EXPRESSION)].map(([, type, to = '']) => ({
      to: resolve(to),
      isType: type !== undefined,
    })),
    ...found(WORKER).map(([, to = '']) => ({ to: resolve(to), isType: false, isThread: true })),
  ]
}

/** The folder that a file belongs to; a file beside the rooms is a room by itself. */
export function roomOf(path: string): string {
  const [first = '', second = '', third] = path.split('/')
  if (second === '') return first
  return third !== undefined && TWO_LEVELS.includes(first) ? `${first}/${second}` : first
}

/** A file with a wall of its own has that, any other its room's. */
function wallNameOf(path: string, walls: Walls) {
  return path in walls ? path : roomOf(path)
}

/** Each import that goes where its room may not look, and each room that nobody has given a wall. */
export function findWallBreaks(files: readonly SourceFile[], walls: Walls): string[] {
  const breaks = new Set<string>()
  for (const { path, imports } of files) {
    const from = wallNameOf(path, walls)
    const wall = walls[from]
    if (!wall) {
      if (!path.endsWith('.lua'))
        breaks.add(`${path}: nobody has said what "${from}" may import: give it a row in test/house.test.ts`)
      continue
    }
    for (const { to, isType } of imports) {
      const room = wallNameOf(to, walls)
      if (room === from || wall.may.includes(room) || wall.may.includes(to)) continue
      if (wall.types?.includes(room)) {
        if (!isType) breaks.add(`${path} imports ${to}: "${from}" may know "${room}" by its types alone`)
      } else breaks.add(`${path} imports ${to}: "${from}" may not know "${room}" (${wall.why})`)
    }
  }
  return [...breaks]
}

/** Circles of imports, types included, each told once. */
export function findCycles(files: readonly SourceFile[]): string[] {
  const importsOf = new Map(files.map(({ path, imports }) => [path, imports]))
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (path: string, way: readonly string[]) => {
    const at = way.indexOf(path)
    if (at >= 0) cycles.push([...way.slice(at), path].join(' -> '))
    if (at >= 0 || done.has(path)) return
    for (const { to, isThread } of importsOf.get(path) ?? []) if (!isThread) visit(to, [...way, path])
    done.add(path)
  }
  for (const { path } of files) visit(path, [])
  return cycles
}

/** Rooms with more than `most` of all lines. */
export function findLargeRooms(files: readonly SourceFile[], most: number): string[] {
  const all = files.reduce((sum, { lines }) => sum + lines, 0)
  return [...Map.groupBy(files, ({ path }) => roomOf(path))].flatMap(([room, inside]) => {
    const share = inside.reduce((sum, { lines }) => sum + lines, 0) / all
    return share > most
      ? [`${room} has ${(share * 100).toFixed(1)} % of src: open a room for a part of it`]
      : []
  })
}

export function findLongFiles(files: readonly SourceFile[], most: number): string[] {
  return files.flatMap(({ path, lines }) =>
    lines > most ? [`${path} has ${lines} lines: ${most} at most`] : [],
  )
}

/** They name the rooms and hold nothing themselves, so nothing belongs into them. */
const MAPS = ['app.ts', 'process.ts', 'stores/open.ts']

/** Files of fewer than `least` lines that exactly one other file, of `src/` or of `users`, needs. */
export function findCrumbs(
  files: readonly SourceFile[],
  users: readonly SourceFile[],
  least: number,
): string[] {
  return files.flatMap(({ path, lines }) => {
    if (lines >= least || path.endsWith('.lua')) return []
    const usedBy = [...files, ...users].filter(({ imports }) => imports.some(({ to }) => to === path))
    const [only] = usedBy
    return usedBy.length === 1 && only && !MAPS.includes(only.path)
      ? [`${path} (${lines} lines) is used by ${only.path} alone: it belongs into it`]
      : []
  })
}
