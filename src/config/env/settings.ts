import { totalmem } from 'node:os'
import * as v from 'valibot'
import { readAddress } from '../catalog/address.ts'
import type { Provider, SourcedRoute } from '../catalog/catalog.ts'
import { KNOWN_PROVIDERS, type KnownProvider } from '../catalog/providers.ts'
import { joinServices } from '../catalog/service-checks.ts'
import { type ListReading, type Remark, readForwardedHeader, readList, readTrustedProxy } from '../lists.ts'
import { SettingsError } from '../mistakes.ts'
import { readOrigin } from '../origins.ts'
import { suggest } from '../suggest.ts'
import { isLink } from './env-text.js'
import { suggestNumber } from './hints.js'
import { plainSettings } from './plain-settings.ts'
import { type RedisAddress, readRedisUrl } from './redis-url.ts'
import { type Environment, LEAST_CHARACTERS, readSecret, readText } from './secrets.ts'
import type { JwtSettings } from './service-secrets.ts'
import { readServiceSettings } from './service-settings.ts'
import { describeRawPassword, isCutShort } from './url-password.ts'
import { type OutgoingProxies, readExtraCertificates, readOutgoingProxies } from './way-out.ts'

/** With Redis there are other gateways: an edge that asks every 2 s has seen in this time that one leaves. */
const REPLICA_DELAY_MS = 5_000

/** What bodies may take of the memory there is: the rest is the runtime's, the answers' and what is not collected yet. */
const SHARE = 1 / 4
/** In less than this, two large bodies would not fit at once. */
const LEAST_BYTES = 32 * 1024 * 1024
const MOST_BYTES = 4 * 1024 ** 3

/** Built here, so nothing to check. */
function isAny(): boolean {
  return true
}

const settingsSchema = v.object({
  ...plainSettings,
  /** How long to serve on after SIGTERM, until an edge with several gateways has seen this one leave. */
  drainDelayMs: v.number(),
  /** The bytes of all bodies that are here at once. */
  bodyMemoryBytes: v.number(),
  adminFirst: v.optional(v.string()),
  /** Where tokens, balances and limits are; undefined: in files. */
  redis: v.optional(v.custom<RedisAddress>(isAny)),
  /** Where replicas write usage rows; undefined: `usage.sqlite`. */
  databaseUrl: v.optional(v.string()),
  trustedProxies: v.array(v.string()),
  corsAllowlist: v.array(v.string()),
  /** What of a client's headers providers see besides what they need. */
  forwardHeaders: v.array(v.string()),
  /** The rows of the table of services that the environment says. */
  services: v.custom<readonly SourcedRoute[]>(isAny),
  /** Names of the rows whose callers may send a token as `?api_key=`. */
  queryKeyRoutes: v.array(v.string()),
  /** What is in force: its values may be others after a rotation, and then the object is another one. */
  jwt: v.custom<() => JwtSettings | undefined>(isAny),
  /** What services know the gateway by, as it is in force. */
  internalKey: v.custom<() => string | undefined>(isAny),
  /** Undefined: every target is reached directly. */
  proxyFor: v.optional(v.custom<OutgoingProxies['proxyFor']>(isAny)),
  serviceProxyFor: v.optional(v.custom<OutgoingProxies['serviceProxyFor']>(isAny)),
  proxySecrets: v.array(v.string()),
  /** Authorities to trust besides Node's own. */
  extraCertificates: v.array(v.string()),
  /** The providers that have a key, in the order of preference. */
  providers: v.custom<readonly Provider[]>(isAny),
  /** What the operator should know, though it is no mistake; none repeats a secret. */
  warnings: v.array(v.string()),
  /** A secret by its variable's name, from `NAME` or `NAME_FILE`; throws SettingsError when that file fails. */
  readKey: v.custom<(name: string) => string | undefined>(isAny),
})

/** What the operator said, checked and with every default filled in. */
export type Settings = v.InferOutput<typeof settingsSchema>

/** Reads all settings, or throws one SettingsError that names every mistake in them and in the file that they are from. */
export function readSettings(env: Environment, ofFile: readonly string[] = []): Settings {
  const mistakes = [...ofFile]
  const warnings: string[] = []
  const list = <T extends string | object>(name: string, readEntry: (entry: string) => T | Remark<T>): T[] =>
    keep(readList(name, readText(env, name), readEntry), { mistakes, warnings })
  const found = readPlain(env, mistakes)
  const shared = readShared(env, mistakes)
  const proxies = readOutgoingProxies(env, mistakes)
  checkMetricsKey(env, mistakes)
  const services = readServiceSettings(env, readTolerance(found), { mistakes, warnings })
  const settings = {
    ...found,
    drainDelayMs: found.drainDelayMs ?? (shared.redis ? REPLICA_DELAY_MS : 0),
    bodyMemoryBytes: found.bodyMemoryBytes ?? usualBodyMemory(),
    adminFirst: readAdminFirst(env, mistakes),
    ...shared,
    trustedProxies: list('TRUSTED_PROXIES', readTrustedProxy),
    corsAllowlist: list('CORS_ALLOWLIST', readOrigin),
    forwardHeaders: list('FORWARD_HEADERS', readForwardedHeader),
    ...services,
    proxyFor: proxies?.proxyFor,
    serviceProxyFor: proxies?.serviceProxyFor,
    proxySecrets: [...(proxies?.secrets ?? [])],
    extraCertificates: readExtraCertificates(env, mistakes),
    providers: KNOWN_PROVIDERS.flatMap((known) => readProvider(env, known, { mistakes, warnings })),
    warnings,
    readKey: (name: string) => readKey(env, name),
  }
  if (mistakes.length > 0) {
    // Else they are told with those of the models file, whose rows stand in the same table.
    joinServices(services.services, { settings: { ...services, queryKeyRoutes: [] }, mistakes })
    throw new SettingsError(mistakes)
  }
  return v.parse(settingsSchema, settings)
}

/** Another value than a number is told of already. */
function readTolerance({ jwtToleranceS: toleranceS }: Record<string, unknown>): number {
  return typeof toleranceS === 'number' ? toleranceS : v.getDefault(plainSettings.jwtToleranceS)
}

/** A share of the container's limit, where there is one; else of the machine's memory. */
export function usualBodyMemory(limit = process.constrainedMemory(), total = totalmem()): number {
  const memory = limit > 0 ? Math.min(limit, total) : total
  return Math.floor(Math.min(MOST_BYTES, Math.max(LEAST_BYTES, memory * SHARE)))
}

/** What is set; the defaults of the others are the schema's. */
function readPlain(env: Environment, mistakes: string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  for (const [field, { wrapped }] of Object.entries(plainSettings)) {
    const { env: variables, expects } = v.getMetadata(wrapped)
    const name = variables.find((variable) => isSetting(variable, readText(env, variable)))
    if (name === undefined) continue
    const text = readText(env, name) ?? ''
    const value = readValue(wrapped.type, text)
    if (!v.is(wrapped, value)) {
      const hint =
        wrapped.type === 'picklist' ? suggestWord(text, wrapped.options) : suggestNumber(name, text)
      mistakes.push(`${name} must be ${expects}${hint}`)
    }
    found[field] = value
  }
  return found
}

/** A service of the operator's that is called as the gateway is sets a variable of ours. */
function isSetting(name: string, text: string | undefined): boolean {
  return text !== undefined && !(name.endsWith('_PORT') && isLink(text))
}

function readValue(type: 'number' | 'string' | 'picklist', text: string): unknown {
  if (type === 'number') return /^\d{1,15}$/.test(text) ? Number(text) : text
  return type === 'string' ? text : text.toLowerCase()
}

/** Levels and switches as others write them. */
const WORDS = {
  ...{
    warning: 'warn',
    err: 'error',
    critical: 'fatal',
    information: 'info',
    verbose: 'debug',
    silly: 'trace',
  },
  ...{ true: 'on', yes: 'on', 1: 'on', enabled: 'on', false: 'off', no: 'off', 0: 'off', disabled: 'off' },
}

function suggestWord(text: string, words: readonly string[]): string {
  const meant: string | undefined = Reflect.get(WORDS, text.toLowerCase())
  return meant !== undefined && words.includes(meant)
    ? `: write ${meant}`
    : suggest(text.toLowerCase(), words)
}

function findDatabaseMistakes(url: string): string[] {
  const rest = /^postgres(?:ql)?:\/\/(.+)/.exec(url)?.[1]
  if (rest === undefined) return ['DATABASE_URL must begin with postgres://']
  const isRead = URL.canParse(url) && !isCutShort(rest) && !/%(?![0-9a-f]{2})/i.test(rest)
  const way = describeRawPassword(rest) || 'it must look like postgres://user:password@host:5432/database'
  return isRead ? [] : [`DATABASE_URL is wrong: ${way}`]
}

interface Notes {
  mistakes: string[]
  warnings: string[]
}

function keep<T>(reading: ListReading<T>, { mistakes, warnings }: Notes): T[] {
  mistakes.push(...reading.mistakes)
  warnings.push(...reading.warnings)
  return reading.values
}

function readKey(env: Environment, name: string): string | undefined {
  const { value, mistake } = readSecret(env, name)
  if (mistake) throw new SettingsError([mistake])
  return value
}

function readAdminFirst(env: Environment, mistakes: string[]): string | undefined {
  const { value, mistake } = readSecret(env, 'ADMIN_FIRST')
  if (mistake) mistakes.push(mistake)
  if (value === undefined) return undefined
  const way = 'make one with "openssl rand -hex 32", or leave it empty and one is made for you'
  if (value.length < LEAST_CHARACTERS)
    mistakes.push(`ADMIN_FIRST must have at least ${LEAST_CHARACTERS} characters: ${way}`)
  if (/^((your|change)[_-]|changeme)/i.test(value))
    mistakes.push(`ADMIN_FIRST is still a placeholder: ${way}`)
  return value
}

/** It is read where it is needed. */
function checkMetricsKey(env: Environment, mistakes: string[]): void {
  const { value, mistake } = readSecret(env, 'METRICS_KEY')
  if (mistake) mistakes.push(mistake)
  if (value !== undefined && value.length < LEAST_CHARACTERS)
    mistakes.push(`METRICS_KEY must have at least ${LEAST_CHARACTERS} characters`)
}

function readShared(env: Environment, mistakes: string[]): { redis?: RedisAddress; databaseUrl?: string } {
  const redis = readRedisUrl(env, mistakes)
  const { value: databaseUrl, mistake } = readSecret(env, 'DATABASE_URL')
  if (mistake) mistakes.push(mistake)
  if (databaseUrl !== undefined) mistakes.push(...findDatabaseMistakes(databaseUrl))
  if (databaseUrl !== undefined && redis === undefined)
    mistakes.push('DATABASE_URL is for several replicas: set REDIS_URL as well, or remove it')
  return { ...(redis === undefined ? {} : { redis }), ...(databaseUrl === undefined ? {} : { databaseUrl }) }
}

function readProvider(env: Environment, known: KnownProvider, { mistakes, warnings }: Notes): Provider[] {
  const { value: key, mistake } = readSecret(env, known.keyVariable)
  if (mistake) mistakes.push(mistake)
  if (key === undefined) return []
  const address = readAddress(known, readText(env, known.baseUrlVariable) ?? known.baseUrl)
  if ('mistake' in address) {
    mistakes.push(`${known.baseUrlVariable} ${address.mistake}`)
    return []
  }
  const { origin, basePath, warning } = address
  if (warning) warnings.push(`${known.baseUrlVariable} ${warning}`)
  const { name, dialects, usageOption } = known
  return [{ name, origin, basePath, key, dialects, usageOption }]
}
