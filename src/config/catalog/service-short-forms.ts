import { readBaseUrl } from '../base-url.ts'
import { findPathMistake, findProviderPathMistake } from '../public-paths.ts'
import { suggest } from '../suggest.ts'
import type { Entry, ServiceRoute } from './service-routes.ts'
import { buildRoute } from './service-row.ts'
import { readTarget } from './service-targets.ts'

type Mistake = { mistake: string }

/** What may stand at the end of an entry, in any order. */
const MARKS = ['insecure', 'open', 'jwt', 'any', 'token', 'cookies'] as const
type Mark = (typeof MARKS)[number]
const ENTRIES: readonly Entry[] = ['open', 'jwt', 'any', 'token']

interface Marked {
  text: string
  marks: ReadonlySet<Mark>
}

/** Takes `!open!cookies` off the end of an entry. */
export function readMarks(entry: string): Marked | Mistake {
  let text = entry.trim()
  const marks = new Set<Mark>()
  for (;;) {
    const [end, word = ''] = /\s*!([A-Za-z]*)$/.exec(text) ?? []
    if (end === undefined) break
    const mark = MARKS.find((each) => each === word)
    if (mark === undefined)
      return { mistake: `ends in an unknown mark${suggest(word, MARKS)}: known are !${MARKS.join(', !')}` }
    marks.add(mark)
    text = text.slice(0, -end.length)
  }
  const entries = ENTRIES.filter((each) => [...marks].some((mark) => mark === each))
  if (entries.length > 1) return { mistake: `says both !${entries.join(' and !')}: who may enter is one` }
  return { text, marks }
}

/** What the marks of an entry say of its row. */
export function ofMarks(marks: ReadonlySet<Mark>): Partial<ServiceRoute> {
  const entry = ENTRIES.find((each) => [...marks].some((mark) => mark === each))
  return { ...(entry === undefined ? {} : { entry }), ...(marks.has('cookies') ? { cookies: true } : {}) }
}

/** One `path`, `path=provider` or `path=https://url` of PASSTHROUGH_PATHS. */
export function readPassthroughRoute(entry: string): ServiceRoute | Mistake {
  const marked = readMarks(entry)
  if ('mistake' in marked) return marked
  const { text, marks } = marked
  const equals = text.indexOf('=')
  const prefix = (equals < 0 ? text : text.slice(0, equals).trim()).replace(/\/$/, '')
  const mistake = findPathMistake(prefix)
  if (mistake) return { mistake }
  const target = equals < 0 ? '' : text.slice(equals + 1).trim()
  const said = { prefix, serves: 'http', ...ofMarks(marks) } as const
  // The first provider answers where none is named.
  if (/^([a-z][a-z0-9_-]*)?$/.test(target) && (equals < 0 || target !== '')) {
    if (marks.has('open'))
      return { mistake: `(${prefix}) would let anybody use a provider's key: "!open" is for services alone` }
    const unpaid = findProviderPathMistake(prefix)
    if (unpaid) return { mistake: `(${prefix}) ${unpaid}` }
    return buildRoute({ ...said, provider: target, keepsPrefix: true })
  }
  const url = readBaseUrl(target, {
    insecure: marks.has('insecure') ? 'allowed' : 'end the entry in "!insecure"',
  })
  if ('mistake' in url)
    return { mistake: `(${prefix}) must name a provider or a URL; the URL ${url.mistake}` }
  return buildRoute({ ...said, targets: [{ origin: url.origin, basePath: url.basePath }] })
}

/** One `/path=ws://host:port/path` of WS_ROUTES. */
export function readWebsocketRoute(entry: string): ServiceRoute | Mistake {
  const equals = entry.indexOf('=')
  if (equals < 0) return { mistake: 'must be a path and a URL, such as /ws=ws://backend:8000/ws' }
  return buildWebsocketRoute(entry.slice(0, equals).trim(), entry.slice(equals + 1).trim())
}

/** The same in two halves, as `wsRoutes` of the models file has them. */
export function buildWebsocketRoute(path: string, target: string): ServiceRoute | Mistake {
  const prefix = path.replace(/\/$/, '')
  const mistake = findPathMistake(prefix)
  if (mistake) return { mistake }
  const marked = readMarks(target)
  if ('mistake' in marked) return { mistake: `(${prefix}) ${marked.mistake}` }
  const found = readTarget(marked.text, ['ws', 'wss'])
  if ('mistake' in found) return { mistake: `(${prefix}) ${found.mistake}` }
  return buildRoute({ prefix, serves: 'websocket', ...ofMarks(marked.marks), targets: [found] })
}
