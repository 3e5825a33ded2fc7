import * as v from 'valibot'
import { isRecord } from '../../json.ts'
import { suggest } from '../suggest.ts'

/** What the sections of a models file are made of; all messages follow a path into it. */
export const text = v.string('must be string')
export const number = v.number('must be number')
export const flag = v.optional(v.boolean('must be boolean'))
export const AT_LEAST_ONE = 'must name at least one entry'

const DAY_MS = 86_400_000
export const milliseconds = v.optional(whole(1, DAY_MS, 'a whole number of milliseconds'))

/** A whole number within bounds. */
export function whole(least: number, most: number, what = 'a whole number') {
  const message = `must be ${what} from ${least} to ${most}`
  return v.pipe(v.number(message), v.integer(message), v.minValue(least, message), v.maxValue(most, message))
}

/** One of a few words, with the one that was probably meant. */
export function oneOf<const T extends readonly string[]>(words: T, more = '') {
  return v.picklist(words, ({ input }) => {
    const said = typeof input === 'string' ? input : ''
    const spelt = words.find((word) => word.toLowerCase() === said.toLowerCase())
    const near = spelt === undefined ? suggest(said, words) : ` (write ${spelt})`
    return `must be ${words.length > 1 ? 'one of ' : ''}${words.join(', ')}${near}${more}`
  })
}

/** A list with something in it. */
export function listOf<const T extends v.GenericSchema>(entry: T) {
  return v.pipe(v.array(entry, 'must be array'), v.nonEmpty(AT_LEAST_ONE))
}

/** How a mistake points into the file: `models.gpt-4o.plan[0].provider`. */
export function formatPath(keys: readonly string[]): string {
  const text = keys.map((key) => (/^\d+$/.test(key) ? `[${key}]` : `.${key}`)).join('')
  return text.replace(/^\./, '') || 'the file'
}

/** `x-anything` is the operator's own, as in a compose file: a place for what is merged elsewhere (`<<: *usual`). */
export function isOwn(key: string): boolean {
  return /^x-[\w-]*$/.test(key)
}

/** An object of these entries and no others but the operator's own. All its mistakes are named at once, for whoever wrote it by hand. */
export function strictObject<const T extends v.ObjectEntries>(entries: T) {
  const shape = v.object(entries)
  return v.pipe(
    v.custom<v.InferInput<v.ObjectSchema<T, undefined>>>(isRecord, 'must be object'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return
      for (const [key, value] of Object.entries(dataset.value)) {
        if (Object.hasOwn(entries, key) || isOwn(key)) continue
        const at = { type: 'object', origin: 'value', input: dataset.value, key, value } as const
        addIssue({ message: describeUnknown(key, Object.keys(entries)), path: [at] })
      }
      for (const { message, path } of v.safeParse(shape, dataset.value).issues ?? []) {
        const [at, deeper] = path ?? []
        const isMissing = at?.origin === 'key' && deeper === undefined
        addIssue(isMissing ? { message: `lacks ${at.key}: add it` } : { message, path })
      }
    }),
  )
}

function describeUnknown(key: string, known: readonly string[]): string {
  return `is not a setting${suggest(key, known) || `; known here: ${known.join(', ')}`}`
}
