import type { SourcedRoute } from '../catalog/catalog.ts'
import { readOpenPath } from '../catalog/open-paths.ts'
import type { OpenPath, ServiceRoute } from '../catalog/service-routes.ts'
import { buildRoute } from '../catalog/service-row.ts'
import { ofMarks, readMarks } from '../catalog/service-short-forms.ts'
import { readTargets } from '../catalog/service-targets.ts'
import { readList } from '../lists.ts'
import { findPathMistake, isBelow } from '../public-paths.ts'
import { isLink } from './env-text.js'
import { type Environment, readText } from './secrets.ts'
import { SERVICE_PUBLIC, SERVICE_URL } from './service-names.js'
import type { ServiceSecrets } from './service-secrets.ts'

/** Where a whole API of the operator's is, for whoever has a token: `/proxy` and all below it. */
const INTERNAL_BASE = 'INTERNAL_API_BASE_URL'
const PROXY = '/proxy'
const INTERNAL_KEYS = ['INTERNAL_API_KEY', 'INTERNAL_API_KEY_FILE']

interface Notes {
  mistakes: string[]
  warnings: string[]
}

/** The rows that `INTERNAL_API_BASE_URL` and each `<NAME>_SERVICE_URL` say. */
export function readServiceUrls(env: Environment, secrets: ServiceSecrets, notes: Notes): SourcedRoute[] {
  const names = Object.keys(env).filter((name) => SERVICE_URL.test(name) && isSaid(env, name))
  // One that cannot be read is told of already.
  const hasKey = INTERNAL_KEYS.some((name) => readText(env, name) !== undefined)
  if (names.length > 0 && secrets.internalKey === undefined && !hasKey)
    notes.mistakes.push(
      `${names.toSorted().join(', ')} ${names.length === 1 ? 'needs' : 'need'} INTERNAL_API_KEY, by which services know that the gateway asks: make one with "openssl rand -hex 32", and tell it to them too`,
    )
  for (const name of Object.keys(env)) checkPublic(env, name, notes)
  return [
    ...readBase(env, secrets, notes),
    ...names.toSorted().flatMap((name) => readService(env, name, { secrets, notes, names })),
  ]
}

/** The word of `USER_SERVICE_URL`, and the name of its rows. */
function nameOf(variable: string): { word: string; name: string } {
  const [, word = ''] = SERVICE_URL.exec(variable) ?? []
  return { word, name: word.toLowerCase().replaceAll('_', '-') }
}

/** Docker and Kubernetes put links to services into every container, which are none of the operator's. */
function isSaid(env: Environment, name: string): boolean {
  const text = readText(env, name)
  return text !== undefined && !isLink(text)
}

function readBase(env: Environment, { internalKey }: ServiceSecrets, notes: Notes): SourcedRoute[] {
  if (!isSaid(env, INTERNAL_BASE)) return []
  const said = readUrl(env, INTERNAL_BASE, notes)
  if (!said) return []
  const sendsInternalKey = internalKey !== undefined
  const route = buildRoute({ prefix: PROXY, name: 'proxy', sendsInternalKey, ...said })
  return [{ source: INTERNAL_BASE, route }]
}

interface Reading {
  secrets: ServiceSecrets
  notes: Notes
  /** Of all such variables: a name goes before what another may be called besides. */
  names: readonly string[]
}

/** `USER_SERVICE_URL` is `/api/user` and `/api/users`, but where there is a `USERS_SERVICE_URL`. */
function readService(env: Environment, variable: string, { secrets, notes, names }: Reading): SourcedRoute[] {
  const said = readUrl(env, variable, notes)
  if (!said) return []
  const { word, name } = nameOf(variable)
  const taken = names.filter((each) => each !== variable).map((each) => nameOf(each).name)
  const prefixes = pluralsOf(name).map((each) => `/api/${each}`)
  const openPaths = readPublic(env, { variable: `${word}_SERVICE_PUBLIC`, prefixes }, notes)
  const entry = secrets.jwt ? 'any' : 'token'
  const free = pluralsOf(name).filter((each) => !taken.includes(each))
  return free.flatMap((each): SourcedRoute[] => {
    const prefix = `/api/${each}`
    const mistake = findPathMistake(prefix)
    if (mistake) notes.mistakes.push(`${variable} (${prefix}) ${mistake}`)
    const route = buildRoute({ prefix, name, entry, sendsInternalKey: true, openPaths, ...said })
    return mistake ? [] : [{ source: `${variable} (${prefix})`, route }]
  })
}

/** A name, and what more than one of it may be called. */
function pluralsOf(name: string): string[] {
  if (name.endsWith('s')) return [name]
  return name.endsWith('y') ? [name, `${name.slice(0, -1)}ies`, `${name}s`] : [name, `${name}s`]
}

function readUrl(
  env: Environment,
  variable: string,
  { mistakes, warnings }: Notes,
): Partial<ServiceRoute> | undefined {
  const marked = readMarks(readText(env, variable) ?? '')
  if ('mistake' in marked) {
    mistakes.push(`${variable} ${marked.mistake}`)
    return undefined
  }
  const found = readTargets(marked.text)
  if ('mistake' in found) {
    mistakes.push(`${variable} ${found.mistake}`)
    return undefined
  }
  if (found.open.length > 0 && !marked.marks.has('insecure'))
    warnings.push(
      `${variable} leads over plain HTTP to ${found.open.join(', ')}, where others may read along: write https://, or end it in "!insecure" if the network is really yours`,
    )
  return { targets: found.targets, ...ofMarks(marked.marks) }
}

function readPublic(
  env: Environment,
  { variable, prefixes }: { variable: string; prefixes: readonly string[] },
  { mistakes }: Notes,
): OpenPath[] {
  const reading = readList(variable, readText(env, variable), (text) => {
    const found = readOpenPath(text)
    if ('mistake' in found) return found
    // It would open nothing: what is said is what follows.
    const whole = prefixes.find((prefix) => isBelow(found.path, prefix))
    return whole === undefined
      ? found
      : { mistake: `is meant below ${whole}: write ${found.path.slice(whole.length) || '/'} alone` }
  })
  mistakes.push(...reading.mistakes)
  return reading.values
}

/** Public paths of a service that is nowhere. */
function checkPublic(env: Environment, name: string, { mistakes }: Notes): void {
  const [, word] = SERVICE_PUBLIC.exec(name) ?? []
  if (word === undefined || !isSaid(env, name)) return
  const variable = `${word}_SERVICE_URL`
  if (!isSaid(env, variable))
    mistakes.push(`${name} says what is public of a service that is nowhere: set ${variable}`)
}
