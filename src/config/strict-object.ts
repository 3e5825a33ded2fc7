import * as v from 'valibot'
import { isRecord } from '../json.ts'
import { suggest } from './suggest.ts'

/** An object of these entries and no others. All its mistakes are named at once, for whoever wrote it by hand. */
export function strictObject<const T extends v.ObjectEntries>(entries: T) {
  const shape = v.object(entries)
  return v.pipe(
    v.custom<v.InferInput<v.ObjectSchema<T, undefined>>>(isRecord, 'must be object'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return
      for (const [key, value] of Object.entries(dataset.value)) {
        if (Object.hasOwn(entries, key)) continue
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
