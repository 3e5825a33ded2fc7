import { hash, randomBytes } from 'node:crypto'

const MADE_HERE = /^gw-[\w-]{43}$/
const PREFIX_LENGTH = 7
/** The first characters of a secret that somebody chose may be half of what there is to guess. */
const CHOSEN_PREFIX_LENGTH = 2

/** A new secret: 256 random bits behind a mark that secret scanners can look for. */
export function makeSecret(): string {
  return `gw-${randomBytes(32).toString('base64url')}`
}

/** What is stored of a secret: its SHA-256 in hex. Plain, since 256 random bits leave nothing to guess. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret)
}

/** The secret's first characters, for people to tell tokens apart. */
export function prefixOf(secret: string): string {
  return secret.slice(0, MADE_HERE.test(secret) ? PREFIX_LENGTH : CHOSEN_PREFIX_LENGTH)
}
