import { readFileSync, statSync } from 'node:fs'
import { readCode } from '../mistakes.ts'
import { findInvisible, unwrap } from './env-text.js'

/** What the process was started with; `process.env` in production. */
export type Environment = Readonly<Record<string, string | undefined>>

/** A secret, or why there is none; both undefined when nobody set it. */
export interface SecretReading {
  value: string | undefined
  mistake: string | undefined
}

const MAX_SECRET_BYTES = 65_536
/** Of a secret that somebody chose for this gateway. */
export const LEAST_CHARACTERS = 16

/** A variable's text as it is meant (`unwrap`); an empty one counts as unset, as Compose passes those on. */
export function readText(env: Environment, name: string): string | undefined {
  const text = env[name]
  return typeof text === 'string' ? unwrap(text) || undefined : undefined
}

/** Reads `NAME`, or the file that `NAME_FILE` names. No text of a mistake repeats the secret. */
export function readSecret(env: Environment, name: string): SecretReading {
  const text = readText(env, name)
  const path = readText(env, `${name}_FILE`)
  if (text && path) return wrong(`${name} and ${name}_FILE are both set: remove one of them`)
  if (!path) return checked(name, text)
  try {
    const file = statSync(path)
    // A pipe would hold up the start for ever, a device could fill the memory.
    if (!file.isFile()) return wrong(`${name}_FILE must name a regular file`)
    if (file.size > MAX_SECRET_BYTES) return wrong(`${name}_FILE names a file of more than 64 KiB`)
    const content = readFileSync(path, 'utf8').trim()
    return content ? checked(`${name}_FILE`, content) : wrong(`${name}_FILE names an empty file`)
  } catch (error) {
    return wrong(`${name}_FILE cannot be read (${readCode(error)}): check the path and its permissions`)
  }
}

function checked(name: string, value: string | undefined): SecretReading {
  if (value === undefined || /^[\x21-\x7e]+$/.test(value)) return { value, mistake: undefined }
  const hidden = findInvisible(/^JWT_PUBLIC_KEY/.test(name) ? value.replaceAll(/\r?\n/g, ' ') : value)
  // No header carries what JWTs are verified by.
  if (hidden === undefined && name.startsWith('JWT_')) return { value, mistake: undefined }
  if (hidden !== undefined) return wrong(`${name} holds ${hidden}: paste it again`)
  if (/_(URL|PROXY)(_FILE)?$/.test(name))
    return wrong(`${name} holds blanks or letters that no URL has: percent-encode them, a blank as %20`)
  return wrong(`${name} holds blanks, line breaks or letters that no HTTP header can carry: paste it again`)
}

function wrong(mistake: string): SecretReading {
  return { value: undefined, mistake }
}
