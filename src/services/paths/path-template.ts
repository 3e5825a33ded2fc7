import type { ServiceRoute } from '../../config/catalog/service-routes.ts'

/** What stands in a template for a part of the path that is somebody's. */
const ID = '{id}'
/** What stands for all that is deeper. */
const REST = '{rest}'
const MOST_SEGMENTS = 8

/** Words of an API: `orders`, `lineItems`, `forgot-password`, `v2`, `app.js`; nothing long enough to be a secret. */
const WORD = /^(?:v\d{1,2}|[a-z]{1,16}(?:[A-Z][a-z]{1,15}){0,3}(?:[-_][a-z]{1,15}){0,2}(?:\.[a-z]{2,5})?)$/
const LONGEST_WORD = 32
const VOWEL = /[aeiouy]/
const HEX = /^[a-f]{6,}$/

function isWord(segment: string): boolean {
  if (segment.length > LONGEST_WORD || !WORD.test(segment)) return false
  const [stem = ''] = segment.split('.', 1)
  // Letters alone may be a hash or a random text, too.
  return stem.length <= 4 || (VOWEL.test(stem) && !HEX.test(stem))
}

/**
 * The path of a usage row: `/orders/42/items?page=2` is `/orders/{id}/items`. One of the operator's templates where one
 * fits, else each segment that is no plain short word becomes `{id}`. Never a query.
 */
export function templateOf(rest: string, templates: readonly Template[]): string {
  const [path = ''] = rest.split('?', 1)
  const segments = path.split('/').filter((segment) => segment !== '')
  const named = templates.find((template) => fits(template, segments))
  if (named !== undefined) return named.text
  const plain = segments.slice(0, MOST_SEGMENTS).map((segment) => (isWord(segment) ? segment : ID))
  if (segments.length > MOST_SEGMENTS) plain.push(REST)
  return `/${plain.join('/')}`
}

/** `{name}` stands for any one segment, a final `*` for all that is left. */
function fits({ parts, isTree }: Template, segments: readonly string[]): boolean {
  if (isTree ? segments.length < parts.length : segments.length !== parts.length) return false
  return parts.every((part, index) => part === undefined || part === segments[index])
}

/** One of the operator's templates, read. */
export interface Template {
  text: string
  /** Undefined: any segment. */
  parts: readonly (string | undefined)[]
  isTree: boolean
}

export function readTemplate(text: string): Template {
  const texts = text.split('/').filter((part) => part !== '')
  const isTree = texts.at(-1) === '*'
  if (isTree) texts.pop()
  return { text, parts: texts.map((part) => (/^\{[^{}]*\}$/.test(part) ? undefined : part)), isTree }
}

/** Of one route; beyond it, whoever asks for words of his own choice is not told apart from others. */
const MOST_TEMPLATES = 500
const OTHER = '/{other}'
/** The service has no such path: its words are the client's alone. */
const UNKNOWN_PATH = [404, 405, 410]

/** The paths of rows, of which there is a bound for each route: they are grouped by in sums. */
export class PathTemplates {
  readonly #routes = new WeakMap<ServiceRoute, { templates: readonly Template[]; known: Set<string> }>()

  of(route: ServiceRoute, url: string, status: number): string {
    const { prefix } = route
    const { templates, known } = this.#of(route)
    const template = templateOf(url.startsWith(prefix) ? url.slice(prefix.length) : url, templates)
    const path = template === '/' ? prefix : prefix + template
    if (known.has(path)) return path
    if (known.size >= MOST_TEMPLATES || UNKNOWN_PATH.includes(status)) return prefix + OTHER
    known.add(path)
    return path
  }

  #of(route: ServiceRoute) {
    const before = this.#routes.get(route)
    if (before) return before
    const fresh = { templates: route.paths.map(readTemplate), known: new Set<string>() }
    this.#routes.set(route, fresh)
    return fresh
  }
}
