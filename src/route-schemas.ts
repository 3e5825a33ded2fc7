import type { FastifyInstance, FastifySchemaValidationError, FastifyServerOptions } from 'fastify'
import * as v from 'valibot'

function refuse(): never {
  throw new Error('a route with a schema needs checkWithValibot on its server')
}

/** Fastify's option of this name: its own compilers, and the packages behind them, would take a tenth of the start. */
export const schemaController: FastifyServerOptions['schemaController'] = {
  compilersFactory: { buildValidator: refuse, buildSerializer: refuse },
}

/** The schemas of this server's routes are valibot's. What the schema of an answer does not name stays inside. */
export function checkWithValibot(app: FastifyInstance): void {
  app.setValidatorCompiler<v.GenericSchema>(({ schema }) => (value) => {
    const read = v.safeParse(schema, value, { abortEarly: true })
    return read.success ? { value: read.output } : { error: read.issues.map(describe) }
  })
  app.setSerializerCompiler<v.GenericSchema>(
    ({ schema }) =>
      (answer) =>
        JSON.stringify(v.parse(schema, answer)),
  )
}

/** Names the field and the rule, never the value: it may be a secret. */
function describe({ type, expected, path, message }: v.BaseIssue<unknown>): FastifySchemaValidationError {
  const keys = path ?? []
  return {
    keyword: type,
    schemaPath: '',
    params: {},
    instancePath: keys.map(({ key }) => `/${String(key)}`).join(''),
    message:
      keys.at(-1)?.origin === 'key'
        ? describeKey(expected)
        : // A check says its rule in words of its own.
          type === 'check'
          ? message
          : `must ${VERBS[type] ?? 'be'} ${expected ?? type}`,
  }
}

function describeKey(expected: string | null): string {
  return expected === 'never' ? 'is not known here' : 'is missing'
}

const VERBS: Readonly<Record<string, string>> = {
  regex: 'match',
  min_length: 'have a length',
  max_length: 'have a length',
}
