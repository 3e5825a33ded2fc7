import { hash, randomBytes } from 'node:crypto'

const PREFIX_LENGTH = 7

/** A new secret: 256 random bits behind a mark that secret scanners can look for. */
export const makeSecret = (): string => `gw-${randomBytes(32).toString('base64url')}`

/** What is stored of a secret: its SHA-256 in hex. Plain, since 256 random bits leave nothing to guess. */
export const hashSecret = (secret: string): string => hash('sha256', secret)

/** The secret's first characters, for people to tell tokens apart. */
export const prefixOf = (secret: string): string => secret.slice(0, PREFIX_LENGTH)
