import { GatewayError } from '../../errors.ts'

/** What a line says of an error. */
export interface ErrorFields {
  type: string
  code?: string
  message?: string
  stack?: string
  cause?: ErrorFields
}

const STACK_CHARACTERS = 4000
const CODE = /^[A-Za-z0-9_.-]{1,64}$/

/** A foreign error's text can hold prompts and keys: only the frames below it are kept. */
function readFrames(error: Error): string {
  const stack = typeof error.stack === 'string' ? error.stack : ''
  const frames = error.message === '' ? stack : stack.replaceAll(error.message, '')
  return frames
    .split('\n')
    .filter((line) => /^ {4}at /.test(line))
    .join('\n')
    .slice(0, STACK_CHARACTERS)
}

function readCode(error: object): string | undefined {
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' && CODE.test(code) ? code : undefined
}

/** Our own errors keep their text; of a foreign one type, code and stack frames remain. */
export function describeError(error: unknown, depth = 0): ErrorFields {
  if (!(error instanceof Error)) return { type: typeof error }
  const fields: ErrorFields = { type: error.constructor.name.slice(0, 64), code: readCode(error) }
  if (error instanceof GatewayError) fields.message = error.message
  else fields.stack = readFrames(error)
  if (error.cause !== undefined && depth < 2) fields.cause = describeError(error.cause, depth + 1)
  return fields
}
