import { closeSync, openSync } from 'node:fs'
import { codeOf } from '../errors.ts'

/** What a resolver says that could not open a socket of its own. */
const OF_NAMES = new Set<unknown>(['EAI_AGAIN', 'ENOTFOUND', 'EAI_FAIL', 'EAI_NODATA'])
const EXHAUSTED = new Set<unknown>(['EMFILE', 'ENFILE'])

/** The fault of this machine that stands behind an error of a connection, or that error itself. */
export function ownFaultBehind(error: Error): Error {
  if (!OF_NAMES.has(codeOf(error))) return error
  try {
    closeSync(openSync('/dev/null', 'r'))
    return error
  } catch (cause) {
    return cause instanceof Error && isExhausted(cause) ? cause : error
  }
}

/** This process, or this machine, may open nothing more. */
export function isExhausted(error: Error): boolean {
  return EXHAUSTED.has(codeOf(error))
}
