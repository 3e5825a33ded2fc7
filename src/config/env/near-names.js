// @ts-check
// Plain JavaScript without packages, as env-text.js beside it.

import { countEdits } from '../edits.js'
import { isServiceSetting } from './service-names.js'

/** What others call it, where no likeness of letters tells. @type {Readonly<Record<string, string>>} */
const OTHER_WORDS = {
  ADMIN_TOKEN: 'ADMIN_FIRST',
  ADMIN_KEY: 'ADMIN_FIRST',
  MASTER_TOKEN: 'ADMIN_FIRST',
  MASTER_KEY: 'ADMIN_FIRST',
  ALLOWED_ORIGINS: 'CORS_ALLOWLIST',
  ADMIN_FIRST_TOKEN: 'ADMIN_FIRST',
  CLAUDE_KEY: 'ANTHROPIC_API_KEY',
  CLAUDE_API_KEY: 'ANTHROPIC_API_KEY',
  CORS_ALLOWED_ORIGINS: 'CORS_ALLOWLIST',
  CORS_ORIGIN: 'CORS_ALLOWLIST',
  CORS_ORIGINS: 'CORS_ALLOWLIST',
  CORS_WHITELIST: 'CORS_ALLOWLIST',
  DOMAIN: 'DOMAIN1',
  FREE_OPENAI_API_KEY: 'FREE_OPENAI_KEY',
  GOOGLE_GENERATIVE_AI_API_KEY: 'GEMINI_API_KEY',
  GOOGLE_API_KEY: 'GEMINI_API_KEY',
  GROK_API_KEY: 'XAI_API_KEY',
  INTERNAL_API_URL: 'INTERNAL_API_BASE_URL',
  JWKS_URI: 'JWT_JWKS_URL',
  JWKS_URL: 'JWT_JWKS_URL',
  JWT_JWKS_URI: 'JWT_JWKS_URL',
  JWT_KEY: 'JWT_SECRET',
  JWT_SECRET_KEY: 'JWT_SECRET',
  LOGLEVEL: 'LOG_LEVEL',
  RATE_LIMIT: 'RATE_LIMIT_PER_MINUTE',
  RATE_LIMIT_PER_MIN: 'RATE_LIMIT_PER_MINUTE',
  TRUST_PROXY: 'TRUSTED_PROXIES',
  TRUSTED_PROXY: 'TRUSTED_PROXIES',
}

/**
 * The setting that was probably meant by a name that is none; undefined: it is another program's.
 * @param {string} name @param {ReadonlySet<string>} known @returns {string | undefined}
 */
export function findMeant(name, known) {
  const isKnown = (/** @type {string} */ each) => known.has(each) || isServiceSetting(each)
  if (isKnown(name)) return undefined
  const asked = name.toUpperCase().replace(/[.-]/g, '_')
  if (isKnown(asked)) return asked
  const other = OTHER_WORDS[asked] ?? asked.replace(/^(.+)_API_(?:BASE|URL)(?:_URL)?$/, '$1_BASE_URL')
  if (other !== asked && known.has(other)) return other
  const base = asked.replace(/_FILE$/, '')
  if (base !== asked) {
    const meant = isKnown(base) ? base : findMeant(base, known)
    if (meant !== undefined) return known.has(`${meant}_FILE`) ? `${meant}_FILE` : meant
  }
  const service = findMeantService(asked)
  if (service !== undefined) return service
  // The names of services are words that everybody has: AUTH_URL is no AUTH_SERVICE_URL.
  const names = [...known].filter(
    (each) => !isServiceSetting(each) && !asked.startsWith(`${each}_`) && digits(each) === digits(asked),
  )
  return names.find((each) => lacksWord(asked, each)) ?? names.find((each) => isTypo(asked, each))
}

/** `USER_SERVICE_URLS`, `USER_SERVICES_URL`, `USER_SERVICE_BASE_URL`. @param {string} asked */
function findMeantService(asked) {
  const words = asked.replace(/_SERVICE_(BASE_URL|ENDPOINT)$/, '_SERVICE_URL').split('_')
  const [middle = '', last = ''] = words.slice(-2)
  if (words.length < 3 || countEdits(middle, 'SERVICE') > 1) return undefined
  const end = ['URL', 'PUBLIC'].find((each) => countEdits(last, each) <= 1)
  const name = `${words.slice(0, -2).join('_')}_SERVICE_${end}`
  return end !== undefined && isServiceSetting(name) ? name : undefined
}

/** A second key (`OPENAI_API_KEY_2`) is one that a models file may name. @param {string} name */
function digits(name) {
  return name.replace(/\D/g, '')
}

/** `OPENAI_KEY`: a word in the middle or at the end is missing. @param {string} asked @param {string} name */
function lacksWord(asked, name) {
  const [said, all] = [asked.split('_'), name.split('_')]
  if (said.length < 2 || all.length !== said.length + 1) return false
  return all.some(
    (_, left) => left > 0 && [...all.slice(0, left), ...all.slice(left + 1)].join('_') === asked,
  )
}

/** @param {string} asked @param {string} name */
function isTypo(asked, name) {
  const most = name.length >= 10 ? 2 : name.length >= 6 ? 1 : 0
  if (Math.abs(asked.length - name.length) > most) return false
  // Of two short words of which one is a maker's name, each may be right: ZAI_API_KEY and XAI_API_KEY.
  const [first = '', ...rest] = name.split('_')
  if (first.length < 4 && asked.endsWith(`_${rest.join('_')}`)) return false
  return countEdits(asked, name) <= most
}

/**
 * What is wrong with a name of a `.env` file, in words that follow its line; undefined: it is a setting or another
 * program's.
 * @param {string} name
 * @param {{ known: ReadonlySet<string>, isSet(name: string): boolean, isNamed(name: string): boolean }} options
 * `isSet`: has a value, wherever; `isNamed`: the models file names it
 */
export function findStranger(name, { known, isSet, isNamed }) {
  if (/^DOMAIN\d+$/.test(name) && !known.has(name)) return 'is no setting: the edge has DOMAIN1 to DOMAIN5'
  const meant = findMeant(name, known)
  if (meant === undefined || isSet(meant) || isNamed(name)) return undefined
  if (name === `${meant}_FILE`) return `is no setting: no file is read for it, set ${meant} itself`
  return `is no setting, did you mean ${meant}? If it is another program's, keep it in that program's own file`
}
