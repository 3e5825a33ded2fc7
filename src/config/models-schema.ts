import { type Static, type TSchema, Type } from 'typebox'
import { Value } from 'typebox/value'

const strict = { additionalProperties: false }
const credits = Type.Optional(Type.Number({ minimum: 0, maximum: 1e9 }))

const providerSchema = Type.Object(
  {
    baseUrl: Type.String(),
    /** The variable (or `_FILE` variable) that holds the key; none for a server of your own that asks for no key. */
    keyEnv: Type.Optional(Type.String({ pattern: '^[A-Z][A-Z0-9_]*$' })),
    dialect: Type.Optional(Type.Enum(['openai', 'anthropic'])),
    allowInsecure: Type.Optional(Type.Boolean()),
    usageOption: Type.Optional(Type.Boolean()),
  },
  strict,
)

const priceSchema = Type.Object(
  {
    input: credits,
    cachedInput: credits,
    output: credits,
    perSecond: credits,
    perCharacter: credits,
    perImage: credits,
  },
  strict,
)

const modelSchema = Type.Object(
  {
    plan: Type.Array(
      Type.Object({ provider: Type.String(), model: Type.Optional(Type.String({ minLength: 1 })) }, strict),
      { minItems: 1 },
    ),
    price: Type.Optional(priceSchema),
    maxOutput: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000_000 })),
    fallbacks: Type.Optional(Type.Array(Type.String())),
  },
  strict,
)

const modelsFileSchema = Type.Object(
  {
    margin: Type.Optional(Type.Number({ exclusiveMinimum: -1, maximum: 1000 })),
    providers: Type.Optional(Type.Record(Type.String(), providerSchema)),
    /** `/ws: ws://backend:8000/ws!open`, as in WS_ROUTES. */
    wsRoutes: Type.Optional(Type.Record(Type.String(), Type.String())),
    models: Type.Record(Type.String(), modelSchema, { minProperties: 1 }),
  },
  strict,
)

export type ModelEntry = Static<typeof modelSchema>
export type ProviderEntry = Static<typeof providerSchema>

/** What a models file says: the entries whose shape is right, and the names of all. */
export interface ModelsFile {
  margin: number
  providers: ReadonlyMap<string, ProviderEntry>
  models: ReadonlyMap<string, ModelEntry>
  providerNames: ReadonlySet<string>
  modelNames: ReadonlySet<string>
  wsRoutes: readonly (readonly [path: string, target: string])[]
}

/** Reads the file's content; what has a wrong shape is left out and added to the mistakes, with its path. */
export function readShape(content: unknown, mistakes: string[]): ModelsFile {
  for (const error of Value.Errors(modelsFileSchema, content)) {
    const keys = readPointer(error.instancePath)
    if (error.keyword === 'additionalProperties') {
      const siblings = knownKeys(modelsFileSchema, keys)
      const unknown = Object.values(error.params).flat().map(String)
      mistakes.push(...unknown.map((key) => describeUnknown([...keys, key], siblings)))
    } else if (error.keyword !== 'boolean') {
      mistakes.push(`${formatPath(keys)} ${describe(error.keyword, error.message, error.params)}`)
    }
  }
  const providers = Object.entries(field(content, 'providers') ?? {})
  const models = Object.entries(field(content, 'models') ?? {})
  return {
    margin: Value.Check(modelsFileSchema, content) ? (content.margin ?? 0) : 0,
    providers: new Map(
      providers.filter((row): row is [string, ProviderEntry] => Value.Check(providerSchema, row[1])),
    ),
    models: new Map(models.filter((row): row is [string, ModelEntry] => Value.Check(modelSchema, row[1]))),
    providerNames: new Set(providers.map(([name]) => name)),
    modelNames: new Set(models.map(([name]) => name)),
    wsRoutes: Object.entries(field(content, 'wsRoutes') ?? {}).filter(
      (row): row is [string, string] => typeof row[1] === 'string',
    ),
  }
}

/** How a mistake points into the file: `models.gpt-4o.plan[0].provider`. */
export function formatPath(keys: readonly string[]): string {
  const text = keys.map((key) => (/^\d+$/.test(key) ? `[${key}]` : `.${key}`)).join('')
  return text.replace(/^\./, '') || 'the file'
}

/** A name that was probably meant, for a text such as ` (did you mean "price"?)`; empty when none is near. */
export function suggest(word: string, names: Iterable<string>): string {
  const near = [...names].map((name) => ({
    name,
    distance: countEdits(word.slice(0, 64), name.slice(0, 64)),
  }))
  const best = near.sort((a, b) => a.distance - b.distance)[0]
  const isNear = best && best.distance <= Math.max(2, word.length / 3) && best.distance < word.length / 2
  return isNear ? ` (did you mean "${best.name}"?)` : ''
}

function describe(keyword: string, message: string, params: object): string {
  if (keyword === 'enum') return `must be one of ${Object.values(params).flat().join(', ')}`
  if (keyword === 'minItems' || keyword === 'minProperties') return 'must name at least one entry'
  if (keyword === 'pattern') return 'must be the name of a variable, such as BACKUP_API_KEY'
  if (keyword === 'required') return `lacks ${Object.values(params).flat().join(', ')}: add it`
  return message
}

function describeUnknown(path: readonly string[], siblings: readonly string[]): string {
  const hint = suggest(path.at(-1) ?? '', siblings)
  return `${formatPath(path)} is not a setting${hint || `; known here: ${siblings.join(', ')}`}`
}

function readPointer(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function knownKeys(schema: TSchema, path: readonly string[]): string[] {
  let at: unknown = schema
  for (const key of path) at = child(at, key)
  return Object.keys(field(at, 'properties') ?? {})
}

function child(schema: unknown, key: string): unknown {
  const named = field(field(schema, 'properties'), key) ?? field(schema, 'items')
  return named ?? Object.values(field(schema, 'patternProperties') ?? {})[0]
}

function field(from: unknown, key: string): object | undefined {
  if (typeof from !== 'object' || from === null || !Object.hasOwn(from, key)) return undefined
  const value: unknown = Reflect.get(from, key)
  return typeof value === 'object' && value !== null ? value : undefined
}

function countEdits(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1]
    for (let j = 0; j < to.length; j += 1) {
      const changed = (row[j] ?? 0) + (letter === to[j] ? 0 : 1)
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
