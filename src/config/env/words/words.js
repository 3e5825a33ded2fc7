// @ts-check
import { edgeWords } from './edge.js'
import { gatewayWords } from './gateway.js'
import { providerWords } from './providers.js'
import { requestWords } from './requests.js'
import { serviceWords } from './services.js'

/**
 * What an operator reads about a setting, in Markdown; docs/settings.md and .env.example are made of it. Default and
 * range of a plain setting are its schema's: only what the schema cannot say is said here.
 * @typedef {object} Words
 * @property {string} means empty: it belongs to the one before
 * @property {string} [expects] what it must be
 * @property {string} [unset] what holds without it
 * @property {readonly string[]} [also] other names of it, read as well
 * @property {boolean} [isSecret] `<NAME>_FILE` is read as well
 * @property {boolean} [isLeftOut] it does not stand in .env.example, or as a comment alone
 */

/**
 * @typedef {object} Group
 * @property {string} title
 * @property {string} [intro]
 * @property {Readonly<Record<string, Words>>} settings by their names, in the order in which they are told
 */

/** Plain JavaScript without dependencies, since scripts/preflight.js reads it before "npm ci". */
/** @type {readonly Group[]} */
export const WORDS = [...gatewayWords, ...serviceWords, ...providerWords, ...requestWords, ...edgeWords]

/** Every name that means something in `.env`. @returns {Set<string>} */
export function knownNames() {
  const rows = WORDS.flatMap(({ settings }) => Object.entries(settings))
  return new Set(
    rows.flatMap(([name, { also = [], isSecret }]) => {
      return [name, ...also, ...(isSecret ? [`${name}_FILE`] : [])]
    }),
  )
}
