import type { FoundRoute, OpenPath, ServiceKind, ServiceRoute, ServiceTable } from './service-routes.ts'

/** What a path leads to; both are made once, as a request may make nothing. */
interface Leaf {
  closed: FoundRoute
  open: FoundRoute
  /** The route's open paths as a lenient service reads them. */
  lenientPaths: readonly OpenPath[]
}

/** One segment of public paths. */
interface Node {
  readonly children: Map<string, Node>
  http?: Leaf
  websocket?: Leaf
}

/** All routes in one table, as trees of segments: a look-up goes no deeper than its path agrees with a route. */
export function buildServiceTable(routes: readonly ServiceRoute[]): ServiceTable {
  const exact = newNode()
  /** The same leaves under what a lenient service would make of their paths. */
  const lenient = newNode()
  for (const route of routes) {
    const leaf = buildLeaf(route)
    put(exact, route.prefix, leaf)
    put(lenient, readLeniently(route.prefix), leaf)
  }
  return {
    routes,
    find: (path, method, kind) => {
      if (routes.length === 0) return undefined
      const leaf = walk(exact, path, kind)
      if (!leaf) return undefined
      const read = readLeniently(path)
      if (read !== path && walk(lenient, read, kind) !== leaf) return undefined
      return isOpen(leaf, { path, read, method }) ? leaf.open : leaf.closed
    },
    covers: (path) =>
      routes.length > 0 &&
      (walk(exact, path, 'http') !== undefined || walk(exact, path, 'websocket') !== undefined),
  }
}

/** The path of a raw URL, which a request asks the table for. */
export function pathOf(url: string): string {
  const end = url.indexOf('?')
  return end < 0 ? url : url.slice(0, end)
}

function buildLeaf(route: ServiceRoute): Leaf {
  const lenientPaths = route.openPaths.map((open) => ({ ...open, path: open.path.toLowerCase() }))
  return { closed: { route, entry: route.entry }, open: { route, entry: 'open' }, lenientPaths }
}

function newNode(): Node {
  return { children: new Map() }
}

/** The first of two that are the same path to a lenient service stays; `joinServices` tells of the other. */
function put(root: Node, prefix: string, leaf: Leaf): void {
  let node = root
  for (const segment of prefix.split('/').slice(1)) {
    const next = node.children.get(segment) ?? newNode()
    node.children.set(segment, next)
    node = next
  }
  const { serves } = leaf.closed.route
  if (serves !== 'websocket') node.http ??= leaf
  if (serves !== 'http') node.websocket ??= leaf
}

function walk(root: Node, path: string, kind: ServiceKind): Leaf | undefined {
  let best: Leaf | undefined
  let node: Node | undefined = root
  let start = 1
  while (path.charCodeAt(start - 1) === SLASH) {
    const slash = path.indexOf('/', start)
    const end = slash < 0 ? path.length : slash
    node = node.children.get(path.slice(start, end))
    if (!node) return best
    // A handshake is a GET: it does not pass by a row that guards those on its way to a shorter one.
    best = node[kind] ?? (kind === 'websocket' && node.http ? undefined : best)
    start = end + 1
  }
  return best
}

const SLASH = 47

interface Asked {
  path: string
  /** As a lenient service reads it; the same where all agree. */
  read: string
  method: string
}

function isOpen({ closed, lenientPaths }: Leaf, { path, read, method }: Asked): boolean {
  const { prefix, openPaths } = closed.route
  if (openPaths.length === 0 || !isListed(openPaths, path.slice(prefix.length), method)) return false
  return read === path || isListed(lenientPaths, read.slice(prefix.length), method)
}

function isListed(openPaths: readonly OpenPath[], rest: string, method: string): boolean {
  return openPaths.some((open) => isMethodOf(open, method) && isPathOf(open, rest || '/'))
}

/** Who may ask for a thing may ask for its head. */
function isMethodOf({ method }: OpenPath, asked: string): boolean {
  return method === undefined || method === asked || (method === 'GET' && asked === 'HEAD')
}

function isPathOf({ path, isTree }: OpenPath, rest: string): boolean {
  if (!rest.startsWith(path)) return false
  if (rest.length === path.length) return true
  return isTree && (path === '/' || rest.charCodeAt(path.length) === SLASH)
}

/** What services disagree about, besides the case of letters: escapes, parameters of a segment, empty segments and dots. */
const AMBIGUOUS = /[%;\\]|\/\/|\/\./

/** A path as the most lenient of services would read it: what two spellings of the same path have in common. */
function readLeniently(path: string): string {
  return AMBIGUOUS.test(path) ? readFolded(path) : path.toLowerCase()
}

function readFolded(path: string): string {
  let read = path
  // Behind a proxy of its own a service may be shown what was escaped twice.
  for (let left = 3; left > 0 && read.includes('%'); left--) read = read.replace(ESCAPED, decode)
  const segments: string[] = []
  for (const segment of (read.split(/[?#]/, 1)[0] ?? '').toLowerCase().split(/[/\\]/)) {
    const name = segment.split(';', 1)[0]?.replace(BLANKS, '') ?? ''
    if (name === '..') segments.pop()
    else if (name !== '' && name !== '.') segments.push(name)
  }
  return `/${segments.join('/')}`
}

const ESCAPED = /%[0-7][0-9a-f]/gi
const BLANKS = /[\0-\x20\x7f]+/g

function decode(escaped: string): string {
  return String.fromCharCode(Number.parseInt(escaped.slice(1), 16))
}
