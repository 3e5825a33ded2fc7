import { codeOf, errorText } from '../../errors.ts'
import { readPublicKeys } from '../jwt-keys.ts'
import { isPrivateHost } from '../private-host.ts'
import { type Environment, LEAST_CHARACTERS, readSecret, readText } from './secrets.ts'

/** How JWTs are verified; at least one of the three keys is there. */
export interface JwtSettings {
  /** HS256. */
  secret?: string | undefined
  /** The one before it, by which JWTs may be signed that have not run out yet. */
  previousSecret?: string | undefined
  /** PEM (`BEGIN PUBLIC KEY`, `BEGIN CERTIFICATE`), a JWK or a JWKS, as text. */
  publicKey?: string | undefined
  jwksUrl?: string | undefined
  /** One of them must be the token's; unset: not looked at. */
  issuer?: string[] | undefined
  audience?: string[] | undefined
  /** By so much clocks may differ. */
  toleranceS: number
}

/** What only services need of the secrets. */
export interface ServiceSecrets {
  jwt: JwtSettings | undefined
  internalKey: string | undefined
}

interface Notes {
  mistakes: string[]
  warnings: string[]
}

/** RFC 7518, 3.2: a key of HS256 is as long as its hash. */
const LEAST_JWT_CHARACTERS = 32
const PLACEHOLDER = /^((your|change|replace|insert)[_-]|changeme|<.*>$|\.{3}|(.)\3*$)/i

/** Reads what JWTs are verified by, and what the gateway says to services that it is. */
export function readServiceSecrets(env: Environment, toleranceS: number, notes: Notes): ServiceSecrets {
  const internalKey = readChosen(env, { name: 'INTERNAL_API_KEY', least: LEAST_CHARACTERS }, notes)
  const secret = readChosen(env, { name: 'JWT_SECRET', least: LEAST_JWT_CHARACTERS }, notes)
  const previousSecret = readPreviousSecret(env, secret, notes)
  checkApart(env, { INTERNAL_API_KEY: internalKey, JWT_SECRET: secret }, notes)
  const publicKey = readPublicKey(env, notes)
  const jwksUrl = readJwksUrl(env, notes)
  const issuer = readWords(env, 'JWT_ISSUER')
  const audience = readWords(env, 'JWT_AUDIENCE')
  if (secret === undefined && publicKey === undefined && jwksUrl === undefined) {
    if (issuer || audience)
      notes.warnings.push(
        'JWT_ISSUER and JWT_AUDIENCE say nothing without JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL',
      )
    return { jwt: undefined, internalKey }
  }
  if (jwksUrl !== undefined && !audience)
    notes.warnings.push(
      'JWT_JWKS_URL without JWT_AUDIENCE takes what its issuer signed for any other application too',
    )
  return { jwt: { secret, previousSecret, publicKey, jwksUrl, issuer, audience, toleranceS }, internalKey }
}

/** While it stands there, whoever has it still signs: it is taken out when the last JWT of it has run out. */
function readPreviousSecret(env: Environment, secret: string | undefined, notes: Notes): string | undefined {
  const previous = readChosen(env, { name: 'JWT_SECRET_PREVIOUS', least: LEAST_JWT_CHARACTERS }, notes)
  if (previous !== undefined && secret === undefined)
    notes.mistakes.push('JWT_SECRET_PREVIOUS stands beside no JWT_SECRET: call it JWT_SECRET, or remove it')
  return previous
}

/** A secret that somebody chose for this gateway. */
function readChosen(
  env: Environment,
  { name, least }: { name: string; least: number },
  { mistakes }: Notes,
): string | undefined {
  const { value, mistake } = readSecret(env, name)
  if (mistake) mistakes.push(mistake)
  if (value === undefined) return undefined
  const way = 'make one with "openssl rand -hex 32"'
  if (value.length < least) mistakes.push(`${name} must have at least ${least} characters: ${way}`)
  else if (PLACEHOLDER.test(value)) mistakes.push(`${name} is still a placeholder: ${way}`)
  // Whoever can read it could sign by it.
  else if (/^(-----BEGIN |\{"?k)/.test(value))
    mistakes.push(`${name} is a key and no secret: a public one goes into JWT_PUBLIC_KEY`)
  return value
}

/** What one side is told must not open the other. */
function checkApart(
  env: Environment,
  { INTERNAL_API_KEY: internalKey, JWT_SECRET: secret }: Record<string, string | undefined>,
  { mistakes }: Notes,
): void {
  const { value: master } = readSecret(env, 'ADMIN_FIRST')
  if (internalKey !== undefined && internalKey === master)
    mistakes.push(
      'INTERNAL_API_KEY is ADMIN_FIRST too, which every service would then have: make another one',
    )
  if (internalKey !== undefined && internalKey === secret)
    mistakes.push('INTERNAL_API_KEY is JWT_SECRET too, by which every service could sign: make another one')
  if (secret !== undefined && secret === master)
    mistakes.push('JWT_SECRET is ADMIN_FIRST too, which whoever signs then has: make another one')
}

function readPublicKey(env: Environment, { mistakes }: Notes): string | undefined {
  const { value, mistake } = readSecret(env, 'JWT_PUBLIC_KEY')
  if (mistake) mistakes.push(mistake)
  if (value === undefined) return undefined
  // A variable of one line has its line breaks like this.
  const key = value.replaceAll('\\n', '\n')
  try {
    readPublicKeys(key)
  } catch (error) {
    const why = codeOf(error) === undefined ? errorText(error) : 'it cannot be decoded'
    mistakes.push(
      `JWT_PUBLIC_KEY cannot be used, ${why}: give it a PEM ("-----BEGIN PUBLIC KEY-----", with \\n for each line break) or a JWK`,
    )
  }
  return key
}

function readJwksUrl(env: Environment, { mistakes }: Notes): string | undefined {
  const text = readText(env, 'JWT_JWKS_URL')
  if (text === undefined) return undefined
  const url = URL.parse(text)
  const wrong = (why: string): void => {
    mistakes.push(`JWT_JWKS_URL ${why}`)
  }
  if (!url || !/^https?:$/.test(url.protocol))
    wrong('must be a URL such as https://login.example.com/.well-known/jwks.json')
  else if (url.username || url.password) wrong('must not hold a user name or password')
  else if (url.hash) wrong('must not hold a "#"')
  else if (url.protocol === 'http:' && !isPrivateHost(url.hostname))
    wrong("must start with https://: keys that come over plain HTTP may be anybody's")
  return url?.href
}

function readWords(env: Environment, name: string): string[] | undefined {
  const words = (readText(env, name) ?? '').split(',').map((word) => word.trim())
  const said = words.filter((word) => word !== '')
  return said.length > 0 ? said : undefined
}
