// @ts-check
// Plain JavaScript without dependencies, as env-text.js beside it.
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { isLink, readEnvText, unwrap } from './env-text.js'
import { findStranger } from './near-names.js'
import { isServiceSetting } from './service-names.js'
import { knownNames } from './words/words.js'

/**
 * Reads the `.env` file of the gateway and its edge. Undefined: there is none. Mistakes begin with their line; a file that
 * cannot be read is one too.
 * @param {string} path @param {Readonly<Record<string, string | undefined>>} env what else is set
 * @returns {{ values: Record<string, string>, mistakes: string[] } | undefined}
 */
export function readDotenv(path, env) {
  const bytes = readBytes(path)
  if (bytes === undefined) return undefined
  if ('mistake' in bytes) return { values: {}, mistakes: [bytes.mistake] }
  const known = knownNames()
  const isSetting = (/** @type {string} */ name) => known.has(name) || isServiceSetting(name)
  const { MODELS_FILE: inFile } = readEnvText(bytes, isSetting).values
  const models = readModels(path, unwrap(env.MODELS_FILE ?? '') || inFile)
  const isKey = buildIsKey(models)
  const { values, lines, mistakes } = readEnvText(bytes, (name) => isSetting(name) || isKey(name))
  const isSet = (/** @type {string} */ name) => Boolean(unwrap(env[name] ?? '') || values[name])
  const isNamed = (/** @type {string} */ name) => models.includes(name)
  const strangers = Object.keys(values).flatMap((name) => {
    const mistake = values[name] === '' ? undefined : findStranger(name, { known, isSet, isNamed })
    return mistake === undefined ? [] : [`line ${lines.get(name)}, ${name}: ${mistake}`]
  })
  const lineOf = (/** @type {string} */ mistake) => Number(/^line (\d+)/.exec(mistake)?.[1] ?? 0)
  return { values, mistakes: [...mistakes, ...strangers].sort((a, b) => lineOf(a) - lineOf(b)) }
}

/**
 * Names of an environment that are nearly a setting's, in words that follow the name: Compose and `docker run --env-file`
 * make every line of `.env` a variable, and others put theirs beside them, so these are no reason to refuse a start.
 * @param {Readonly<Record<string, string | undefined>>} env
 */
export function findNearNames(env) {
  const known = knownNames()
  const isSet = (/** @type {string} */ name) => Boolean(env[name]?.trim())
  const isNamed = (/** @type {string} */ name) =>
    readModels('.env', unwrap(env.MODELS_FILE ?? '')).includes(name)
  return Object.keys(env).flatMap((name) => {
    const mistake =
      isSet(name) && !isLink(env[name] ?? '') ? findStranger(name, { known, isSet, isNamed }) : undefined
    return mistake === undefined ? [] : [`${name} ${mistake}`]
  })
}

/** @param {string} path @returns {Uint8Array | { mistake: string } | undefined} */
function readBytes(path) {
  try {
    return readFileSync(path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    const isFolder = code === 'EISDIR'
    // Docker makes a folder of a mount whose file is not there.
    return { mistake: isFolder ? 'is a folder: remove it, or put a file there' : `cannot be read (${code})` }
  }
}

/** Whether a name is that of a key in the models file: it is a setting as others are. @param {string} models */
function buildIsKey(models) {
  const named = new Set([...models.matchAll(/\bkeyEnv["']?\s*:\s*["']?(\w+)/g)].map(([, name]) => name))
  return (/** @type {string} */ name) => named.has(name)
}

/** A models file may name keys as it likes; one that cannot be read names none. @param {string} envPath @param {string} [path] */
function readModels(envPath, path) {
  if (!path) return ''
  try {
    return readFileSync(resolve(dirname(envPath), path), 'utf8')
  } catch {
    return ''
  }
}
