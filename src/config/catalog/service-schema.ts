import * as v from 'valibot'
import { isRecord } from '../../json.ts'
import { flag, listOf, milliseconds, oneOf, strictObject, text, whole } from './file-shapes.ts'
import { METHODS } from './open-paths.ts'
import { REPEATABLE } from './service-row.ts'

const MOST_BYTES = 1024 ** 5
const count = v.optional(whole(1, 1_000_000_000))
const NAME = 'must be a short name of letters, digits, dots and dashes, such as users'
const COOKIE = 'must be the name of a cookie: letters, digits, "-" and "_"'
const WORD = 'must be a text, a number, true or false, or a list of those'
/** RFC 9110, 5.6.2: names of headers and cookies. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Claims and headers are called as their owners like. */
function record<T extends v.GenericSchema>(value: T) {
  return v.pipe(
    v.custom<Record<string, v.InferInput<T>>>(isRecord, 'must be object'),
    v.record(v.string(), value),
  )
}

const claim = v.union([v.string(), v.number(), v.boolean()], WORD)

const rulesEntries = {
  set: v.optional(record(v.union([v.string(), v.number()], 'must be string'))),
  remove: v.optional(listOf(text)),
}

const cookieName = v.pipe(text, v.regex(TOKEN, COOKIE), v.maxLength(128, COOKIE))
const headerName = v.pipe(text, v.regex(TOKEN, 'must be the name of a header'))

/** What it says of addresses, paths and headers is read by `file-services.ts`. */
const serviceEntries = {
  name: v.optional(v.pipe(text, v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, NAME))),
  path: v.optional(oneOf(['strip', 'keep', 'replace'])),
  serves: v.optional(oneOf(['http', 'websocket', 'both'])),
  methods: v.optional(listOf(oneOf(METHODS))),
  auth: v.optional(oneOf(['token', 'jwt', 'any', 'open'])),
  open: v.optional(listOf(text)),
  claims: v.optional(record(v.union([claim, listOf(claim)], WORD))),
  tokens: v.optional(strictObject({ types: listOf(oneOf(['user', 'admin'])) })),
  limits: v.optional(
    strictObject({
      perMinute: count,
      perDay: count,
      inFlight: count,
      bodyBytes: v.optional(whole(1, MOST_BYTES)),
    }),
  ),
  timeouts: v.optional(
    strictObject({
      connectMs: milliseconds,
      firstByteMs: milliseconds,
      idleMs: milliseconds,
      totalMs: milliseconds,
    }),
  ),
  retry: v.optional(
    strictObject({
      attempts: v.optional(whole(1, 5)),
      on: v.optional(
        listOf(v.picklist(['dial', 'reset', 502, 503, 504], 'must be one of dial, reset, 502, 503, 504')),
      ),
      methods: v.optional(listOf(oneOf(REPEATABLE, ': others are never asked twice'))),
    }),
  ),
  headers: v.optional(
    strictObject({
      request: v.optional(
        strictObject({
          ...rulesEntries,
          pass: v.optional(
            listOf(
              oneOf(
                ['authorization', 'cookie', 'x-api-key', 'api-key', 'x-goog-api-key'],
                ': all others pass',
              ),
            ),
          ),
        }),
      ),
      response: v.optional(strictObject(rulesEntries)),
    }),
  ),
  cookies: flag,
  cors: v.optional(strictObject({ origins: listOf(text), credentials: flag })),
  usage: flag,
  paths: v.optional(listOf(text)),
  internalKey: flag,
  allowInsecure: flag,
  balance: v.optional(oneOf(['round-robin', 'least-in-flight'])),
  sticky: v.optional(
    v.pipe(
      strictObject({ cookie: v.optional(cookieName), header: v.optional(headerName) }),
      v.check(
        ({ cookie, header }) => (cookie === undefined) !== (header === undefined),
        'must name either a cookie or a header',
      ),
    ),
  ),
  health: v.optional(
    strictObject({
      path: text,
      everyMs: v.optional(whole(500, 3_600_000, 'a whole number of milliseconds')),
      timeoutMs: v.optional(whole(50, 60_000, 'a whole number of milliseconds')),
      failures: v.optional(whole(1, 100)),
      successes: v.optional(whole(1, 100)),
    }),
  ),
}

const to = v.union([text, listOf(text)], 'must be a URL or a list of URLs')
/** One row of `services` under its public path. */
const serviceSchema = strictObject({ ...serviceEntries, to })
/** The same where something is wrong with the rest. */
const partialSchema = strictObject({ ...serviceEntries, to: v.optional(to) })

export type ServiceEntry = v.InferInput<typeof partialSchema>

/** Reads a row: what of it has a wrong shape is told by `note` and left out, so that the rest is looked at too. */
export function readServiceEntry(value: unknown, note: (issue: v.BaseIssue<unknown>) => void): ServiceEntry {
  const found = v.safeParse(serviceSchema, value)
  if (found.success) return found.output
  const hint = isRecord(value) ? '' : ', such as { to: "http://users:3000" }'
  for (const issue of found.issues) note({ ...issue, message: issue.message + hint })
  const wrong = new Set(found.issues.map(({ path }) => path?.[0]?.key))
  // They fit what nobody knows.
  if (wrong.has('auth')) for (const name of ['claims', 'tokens', 'open']) wrong.add(name)
  const rest = Object.entries(isRecord(value) ? value : {}).filter(([name]) => !wrong.has(name))
  // What names and values of headers say is looked at on its own, whatever is wrong beside it.
  const rules = isRecord(value) && wrong.has('headers') ? readHeaders(value.headers) : undefined
  const partial = v.safeParse(partialSchema, Object.fromEntries(rest))
  return { ...(partial.success ? partial.output : {}), ...(rules ? { headers: rules } : {}) }
}

/** The rules of which each by itself has a right shape. */
function readHeaders(value: unknown): ServiceEntry['headers'] {
  const headers = isRecord(value) ? value : {}
  const waysOf = (way: 'request' | 'response') => {
    const rules = headers[way]
    const { set, remove } = isRecord(rules) ? rules : {}
    return {
      set: ifRight(rulesEntries.set, set),
      remove: ifRight(rulesEntries.remove, remove),
    }
  }
  return { request: waysOf('request'), response: waysOf('response') }
}

function ifRight<T extends v.GenericSchema>(schema: T, value: unknown): v.InferOutput<T> | undefined {
  const found = v.safeParse(schema, value)
  return found.success ? found.output : undefined
}
