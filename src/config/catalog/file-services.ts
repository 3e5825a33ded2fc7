import { readOrigin } from '../origins.ts'
import { findPathMistake } from '../public-paths.ts'
import type { CatalogSettings, SourcedRoute } from './catalog.ts'
import { formatPath } from './file-shapes.ts'
import { readBothRules } from './header-rules.ts'
import type { ModelsFile } from './models-schema.ts'
import { readOpenPath } from './open-paths.ts'
import type {
  Entry,
  OpenPath,
  RouteCors,
  RouteRetry,
  ServiceRoute,
  ServiceTarget,
  TargetCheck,
} from './service-routes.ts'
import { buildRoute, REPEATABLE, USUAL_RETRY } from './service-row.ts'
import type { ServiceEntry } from './service-schema.ts'
import { buildWebsocketRoute } from './service-short-forms.ts'
import { readTargets } from './service-targets.ts'

export interface RowReading {
  settings: Pick<CatalogSettings, 'jwt' | 'internalKey' | 'totalTimeoutMs'>
  mistakes: string[]
}

/** One row that is being read: `at` is where it stands in the file. */
interface Row {
  at: string
  prefix: string
  entry: ServiceEntry
}

/** The rows of the table that a models file says; what is wrong with them is added to the mistakes. */
export function readFileServices(file: ModelsFile, { settings, mistakes }: RowReading): SourcedRoute[] {
  const sockets = file.wsRoutes.flatMap(([path, target]) => {
    const route = buildWebsocketRoute(path, target)
    if (!('mistake' in route)) return [{ source: `MODELS_FILE: ${formatPath(['wsRoutes', path])}`, route }]
    mistakes.push(`MODELS_FILE: wsRoutes ${route.mistake}`)
    return []
  })
  const rows = file.services.map(([path, entry]) => {
    const at = `MODELS_FILE: ${formatPath(['services', path])}`
    const row = { at, prefix: path.replace(/\/$/, ''), entry }
    return { source: at, route: readRow(row, { settings, mistakes }) }
  })
  return [...sockets, ...rows]
}

function readRow(row: Row, { settings, mistakes }: RowReading): ServiceRoute {
  const { at, prefix, entry: said } = row
  const path = findPathMistake(prefix)
  if (path) mistakes.push(`${at} ${path}`)
  checkTimes(row, { settings, mistakes })
  checkInternalKey(row, { settings, mistakes })
  checkWho(row, mistakes)
  const { perMinute, perDay, inFlight, bodyBytes } = said.limits ?? {}
  return buildRoute({
    prefix,
    name: said.name ?? prefix,
    targets: readTo(row, mistakes),
    keepsPrefix: said.path === 'keep',
    serves: said.serves ?? 'both',
    methods: said.methods,
    entry: entryOf(said),
    openPaths: readOpen(row, mistakes),
    claims: readClaims(said),
    tokenTypes: said.tokens?.types,
    limits: { perMinute, perDay, inFlight, maxBodyBytes: bodyBytes },
    timeouts: said.timeouts ?? {},
    retry: readRetry(said),
    ...readBothRules(said, { at, mistakes }),
    cookies: said.cookies ?? entryOf(said) === 'open',
    cors: readCors(row, mistakes),
    writesUsage: said.usage ?? true,
    paths: readTemplates(row, mistakes),
    sendsInternalKey: said.internalKey ?? settings.internalKey() !== undefined,
    balance: said.balance ?? 'round-robin',
    sticky: readSticky(said),
    check: readCheck(row, mistakes),
  })
}

function entryOf({ auth = 'token' }: ServiceEntry): Entry {
  return auth
}

function readTo({ at, entry: { to, path, allowInsecure } }: Row, mistakes: string[]): ServiceTarget[] {
  if (to === undefined) return []
  const found = readTargets(typeof to === 'string' ? to : to.join(','))
  if ('mistake' in found) {
    mistakes.push(`${at}.to ${found.mistake}`)
    return []
  }
  if (found.open.length > 0 && allowInsecure !== true)
    mistakes.push(
      `${at}.to leads over plain HTTP to ${found.open.join(', ')}, where others may read along: write https://, or add "allowInsecure: true" if the network is really yours`,
    )
  if (path === 'replace' && found.targets.some(({ basePath }) => basePath === ''))
    mistakes.push(`${at}.path is replace: write into "to" what stands in the place of the public path`)
  return found.targets
}

function readOpen({ at, prefix, entry }: Row, mistakes: string[]): OpenPath[] {
  const { open = [], auth, methods } = entry
  if (open.length > 0 && auth === 'open')
    mistakes.push(`${at}.open says nothing where auth is open: remove one of them`)
  return open.flatMap((text, index) => {
    const found = readOpenPath(text)
    const wrong = 'mistake' in found ? found.mistake : findOpenMistake(found, { prefix, methods })
    if (wrong !== undefined) mistakes.push(`${at}.open[${index}] ${wrong}`)
    return 'mistake' in found ? [] : [found]
  })
}

function findOpenMistake(
  { path, method }: OpenPath,
  { prefix, methods }: { prefix: string; methods: readonly string[] | undefined },
): string | undefined {
  if (path === prefix || path.startsWith(`${prefix}/`))
    return `is meant below ${prefix}: write ${path.slice(prefix.length) || '/'} alone`
  return method === undefined || methods === undefined || methods.includes(method)
    ? undefined
    : `names ${method}, which is none of the row's methods`
}

/** Claims and types of tokens that nobody could have who may enter. */
function checkWho({ at, entry }: Row, mistakes: string[]): void {
  const auth = entryOf(entry)
  if (entry.claims && Object.keys(entry.claims).length > 0 && auth !== 'jwt' && auth !== 'any')
    mistakes.push(`${at}.claims are of a JWT, and nobody has one here: add "auth: jwt" or "auth: any"`)
  if (entry.tokens && auth !== 'token' && auth !== 'any')
    mistakes.push(`${at}.tokens are not asked for here: add "auth: token" or "auth: any"`)
  if (entry.serves === 'websocket' && entry.methods && !entry.methods.includes('GET'))
    mistakes.push(`${at}.methods must name GET: the handshake of a WebSocket is one`)
}

function checkInternalKey({ at, entry }: Row, { settings, mistakes }: RowReading): void {
  if (entry.internalKey === true && settings.internalKey() === undefined)
    mistakes.push(`${at}.internalKey needs INTERNAL_API_KEY: make one with "openssl rand -hex 32"`)
}

/** The server, and what stands before it, lets no request live longer. */
function checkTimes({ at, entry: { timeouts = {} } }: Row, { settings, mistakes }: RowReading): void {
  const { totalTimeoutMs } = settings
  const mostMs = Math.min(timeouts.totalMs ?? totalTimeoutMs, totalTimeoutMs)
  for (const [name, ms] of Object.entries(timeouts)) {
    if (typeof ms !== 'number' || ms <= mostMs) continue
    const why =
      ms > totalTimeoutMs
        ? `at most ${totalTimeoutMs}: TOTAL_TIMEOUT_MS is what any request may take, raise that as well`
        : `at most ${mostMs}, which is the row's totalMs`
    mistakes.push(`${at}.timeouts.${name} must be ${why}`)
  }
}

/** A JWT's own values are compared as text. */
function readClaims({ claims = {} }: ServiceEntry): Record<string, readonly string[]> {
  return Object.fromEntries(
    Object.entries(claims).map(([name, values]) => [name, [values].flat().map((value) => String(value))]),
  )
}

function readRetry({ retry }: ServiceEntry): RouteRetry {
  if (!retry) return USUAL_RETRY
  const { attempts = USUAL_RETRY.attempts, on = ['dial'], methods = REPEATABLE } = retry
  return {
    attempts,
    statuses: on.filter((each) => typeof each === 'number'),
    onReset: on.includes('reset'),
    methods,
  }
}

function readCors({ at, entry: { cors } }: Row, mistakes: string[]): RouteCors | undefined {
  if (!cors) return undefined
  const origins = cors.origins.flatMap((text, index) => {
    const found = readOrigin(text)
    if (typeof found === 'string') return [found]
    if ('warning' in found && found.value !== undefined) return [found.value]
    mistakes.push(`${at}.cors.origins[${index}] ${'mistake' in found ? found.mistake : found.warning}`)
    return []
  })
  return { origins, credentials: cors.credentials ?? false }
}

const TEMPLATE = /^\/$|^(\/([A-Za-z0-9._~-]+|\{[A-Za-z_][\w-]*\}))+(\/\*)?$/

function readTemplates({ at, prefix, entry: { paths = [] } }: Row, mistakes: string[]): string[] {
  for (const [index, path] of paths.entries()) {
    const below = path.startsWith(`${prefix}/`)
      ? `is meant below ${prefix}: write ${path.slice(prefix.length)}`
      : ''
    const wrong = TEMPLATE.test(path) ? below : 'must be a path such as /orders/{id} or /files/*'
    if (wrong) mistakes.push(`${at}.paths[${index}] ${wrong}`)
  }
  return [...paths]
}

function readSticky({ sticky }: ServiceEntry): ServiceRoute['sticky'] {
  const { cookie, header } = sticky ?? {}
  if (cookie !== undefined) return { in: 'cookie', name: cookie }
  return header === undefined ? undefined : { in: 'header', name: header.toLowerCase() }
}

function readCheck({ at, entry: { health } }: Row, mistakes: string[]): TargetCheck | undefined {
  if (!health) return undefined
  const { path, everyMs = 5_000, failures = 2, successes = 1 } = health
  const timeoutMs = health.timeoutMs ?? Math.min(2_000, everyMs)
  // What begins with two slashes is another host's to a URL.
  if (!/^\/(?![/\\])[\x21-\x7e]*$/.test(path) || path.includes('#'))
    mistakes.push(`${at}.health.path must be a path of the service, such as /health`)
  if (timeoutMs > everyMs) mistakes.push(`${at}.health.timeoutMs must be at most everyMs (${everyMs})`)
  return { path, everyMs, timeoutMs, failures, successes }
}
