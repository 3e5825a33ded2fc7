import * as v from 'valibot'
import { isRecord } from '../../json.ts'
import { API_NAMES } from './catalog.ts'
import {
  AT_LEAST_ONE,
  flag,
  formatPath,
  isOwn,
  milliseconds,
  number,
  strictObject,
  text,
} from './file-shapes.ts'
import { isKnownProvider } from './providers.ts'
import { readServiceEntry, type ServiceEntry } from './service-schema.ts'

const credits = v.optional(
  v.pipe(number, v.minValue(0, 'must be >= 0'), v.maxValue(1e9, 'must be <= 1000000000')),
)
const KEY_NAME = 'must be the name of a variable, such as BACKUP_API_KEY'
const timeoutsSchema = v.optional(
  strictObject({
    answerMs: milliseconds,
    firstByteMs: milliseconds,
    idleMs: milliseconds,
    totalMs: milliseconds,
  }),
)

const providerEntries = {
  /** The variable (or `_FILE` variable) that holds the key; none for a server of your own that asks for no key. */
  keyEnv: v.optional(v.pipe(text, v.regex(/^[A-Z][A-Z0-9_]*$/, KEY_NAME))),
  dialect: v.optional(v.picklist(API_NAMES, `must be one of ${API_NAMES.join(', ')}`)),
  allowInsecure: flag,
  usageOption: flag,
  timeouts: timeoutsSchema,
}
const providerSchema = strictObject({ ...providerEntries, baseUrl: text })
/** A provider of the settings has its address from there. */
const knownProviderSchema = strictObject({ ...providerEntries, baseUrl: v.optional(text) })

const priceSchema = strictObject({
  input: credits,
  cachedInput: credits,
  output: credits,
  perSecond: credits,
  perCharacter: credits,
  perImage: credits,
})

const stepSchema = strictObject({
  provider: text,
  model: v.optional(v.pipe(text, v.nonEmpty('must not have fewer than 1 characters'))),
})

const modelSchema = strictObject({
  plan: v.pipe(v.array(stepSchema, 'must be array'), v.nonEmpty(AT_LEAST_ONE)),
  price: v.optional(priceSchema),
  maxOutput: v.optional(
    v.pipe(
      v.number('must be integer'),
      v.integer('must be integer'),
      v.minValue(1, 'must be >= 1'),
      v.maxValue(10_000_000, 'must be <= 10000000'),
    ),
  ),
  fallbacks: v.optional(v.array(text, 'must be array')),
  timeouts: timeoutsSchema,
  retryAfterTimeout: v.optional(v.boolean('must be true or false')),
})

/** Each entry is read by itself, under its name, so that one with a mistake hides no other. */
const entries = v.custom<object>(isRecord, 'must be object')

const fileSchema = v.pipe(
  strictObject({
    margin: v.optional(v.pipe(number, v.gtValue(-1, 'must be > -1'), v.maxValue(1000, 'must be <= 1000'))),
    providers: v.optional(entries),
    /** `/ws: ws://backend:8000/ws!open`, as in WS_ROUTES. */
    wsRoutes: v.optional(entries),
    /** The table of routes, by their public paths. */
    services: v.optional(entries),
    models: v.optional(
      v.pipe(
        entries,
        v.check(
          (models) => Object.entries(models).some(([name, value]) => !isTemplate(name, value)),
          AT_LEAST_ONE,
        ),
      ),
    ),
  }),
  // A file may be about services alone: the models are the built-in ones then.
  v.check((file) => ['models', 'services', 'wsRoutes'].some((name) => name in file), 'lacks models: add it'),
)

export type ModelEntry = v.InferOutput<typeof modelSchema>
export type ProviderEntry = v.InferOutput<typeof knownProviderSchema>

/** What a models file says: the entries whose shape is right, and the names of all. */
export interface ModelsFile {
  margin: number
  providers: ReadonlyMap<string, ProviderEntry>
  models: ReadonlyMap<string, ModelEntry>
  providerNames: ReadonlySet<string>
  modelNames: ReadonlySet<string>
  wsRoutes: readonly (readonly [path: string, target: string])[]
  services: readonly (readonly [path: string, entry: ServiceEntry])[]
  /** Without them the built-in ones stay. */
  hasModels: boolean
}

/** Reads the file's content; what has a wrong shape is left out and added to the mistakes, with its path. */
export function readShape(content: unknown, mistakes: string[]): ModelsFile {
  const note = (issue: v.BaseIssue<unknown>, above: readonly string[] = []) => {
    const keys = (issue.path ?? []).map(({ key }) => String(key))
    mistakes.push(`${formatPath([...above, ...keys])} ${issue.message}`)
  }
  const file = v.safeParse(fileSchema, content)
  for (const issue of file.issues ?? []) note(issue)
  const read = <T>(room: string, schemaOf: (name: string) => v.GenericSchema<unknown, T>): [string, T][] =>
    readEntries(content, room).flatMap(([name, value]): [string, T][] => {
      const entry = v.safeParse(schemaOf(name), value)
      for (const issue of entry.issues ?? []) note(issue, [room, name])
      return entry.success ? [[name, entry.output]] : []
    })
  return {
    margin: file.success ? (file.output.margin ?? 0) : 0,
    providers: new Map(
      read('providers', (name) => (isKnownProvider(name) ? knownProviderSchema : providerSchema)),
    ),
    models: new Map(read('models', () => modelSchema)),
    providerNames: new Set(readEntries(content, 'providers').map(([name]) => name)),
    modelNames: new Set(readEntries(content, 'models').map(([name]) => name)),
    wsRoutes: read('wsRoutes', () => text),
    services: readEntries(content, 'services').map(([path, value]) => [
      path,
      readServiceEntry(value, (issue) => note(issue, ['services', path])),
    ]),
    hasModels: isRecord(content) && Object.hasOwn(content, 'models'),
  }
}

/** A model may be called so too: then it has what a model has. */
function isTemplate(name: string, value: unknown): boolean {
  return isOwn(name) && !(isRecord(value) && ('plan' in value || 'baseUrl' in value))
}

function readEntries(content: unknown, room: string): [name: string, value: unknown][] {
  if (!isRecord(content) || !Object.hasOwn(content, room)) return []
  const found: unknown = Reflect.get(content, room)
  const all = isRecord(found) ? Object.entries(found) : []
  return room === 'wsRoutes' ? all : all.filter(([name, value]) => !isTemplate(name, value))
}
