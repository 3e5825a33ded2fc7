import { hash as digest, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type AddressCheck, buildAddressCheck } from '../config/address-blocks.ts'
import { addressNotAllowed, GatewayError, invalidApiKey, storeUnavailable } from '../errors.ts'
import type { Token, Tokens } from '../stores/contracts/tokens.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The token is there for everything past the auth room. */
    token: Token
    /** The hash of the secret that it came with: while a rotation overlaps, a token has several. */
    secretHash: string
  }
}

export interface ClientAuthOptions {
  tokens: Pick<Tokens, 'find'>
  now?: () => number
  /** It is called before a request without a valid token is refused, and may throw another refusal. */
  onRefused?(request: FastifyRequest): Promise<void> | void
  /** Who needs no token: such a request has none. */
  isKnown?(secret: string): boolean
}

const MISSING = 'Send your token as "Authorization: Bearer <token>" or "x-api-key: <token>".'
/** One text for unknown, revoked, disabled, rotated and expired: which of them is nobody's business but the owner's. */
export const INVALID_KEY = 'The token is not valid. Ask for a new one.'

export function isUsable(token: Token, hash: string, at: number): boolean {
  if (token.revokedAt !== undefined || token.disabledAt !== undefined) return false
  if (token.expiresAt !== undefined && token.expiresAt <= at) return false
  const earlier = token.previous?.find((one) => one.hash === hash)
  return earlier === undefined || earlier.until > at
}

function unfound(cause: unknown): never {
  if (cause instanceof GatewayError) throw cause
  throw storeUnavailable('Tokens cannot be checked right now. Try again in a moment.', { cause })
}

export function findToken(tokens: Pick<Tokens, 'find'>, hash: string): Promise<Token | undefined> {
  return tokens.find(hash).catch(unfound)
}

/** Whether a secret that was let in once still would be: for what lives longer than a request. */
export async function isStillUsable(
  tokens: Pick<Tokens, 'find'>,
  hash: string,
  at: number,
): Promise<boolean> {
  const endsAt = LEASE.exec(hash)?.[1]
  if (endsAt !== undefined) return Number(endsAt) > at
  const token = await findToken(tokens, hash)
  return token !== undefined && isUsable(token, hash, at)
}

/** In the place of a secret's hash: what runs for somebody until a time. */
export function leaseUntil(endsAt: number): string {
  return `until:${endsAt}`
}

const LEASE = /^until:(.+)$/

/** Keeps what was read of a token's list for as long as the list itself lives. */
export function createAddressGuard(): (token: Token, address: string) => void {
  const checks = new WeakMap<readonly string[], AddressCheck>()
  return ({ addresses }, address) => {
    if (addresses === undefined || addresses.length === 0) return
    const isAllowed = checks.get(addresses) ?? buildAddressCheck(addresses)
    checks.set(addresses, isAllowed)
    if (isAllowed(address)) return
    throw addressNotAllowed(
      `This token may not be used from the address ${address}. Use it from one on its list.`,
    )
  }
}

/** Who is asking: sets `request.token`, or turns the request away. */
export const clientAuth = fp<ClientAuthOptions>(
  async (app, { tokens, now = Date.now, onRefused, isKnown }) => {
    app.decorateRequest('token')
    app.decorateRequest('secretHash', '')
    const guardAddress = createAddressGuard()
    app.addHook('onRequest', async (request) => {
      const secret = readCredential(request.headers)
      if (secret !== undefined && isKnown?.(secret)) return
      const hash = secret === undefined ? '' : hashSecret(secret)
      const token = secret === undefined ? undefined : await findToken(tokens, hash)
      if (token && isUsable(token, hash, now())) {
        guardAddress(token, request.ip)
        request.token = token
        request.secretHash = hash
        return
      }
      await onRefused?.(request)
      throw invalidApiKey((secret === undefined ? MISSING : INVALID_KEY) + describeOddity(request.headers))
    })
  },
  { name: 'client-auth' },
)

const MOST_SECRET_BYTES = 512
const BEARER = /^bearer +(.*)$/i
const PRINTABLE = /^[\x21-\x7e]+$/

const KEY_ENTRY = /^openai-insecure-api-key\.(.+)$/

export function readBearer(header: string | undefined): string | undefined {
  return header === undefined ? undefined : BEARER.exec(header)?.[1]
}

export function firstOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** Browsers can put no header on a WebSocket: their secret comes as one of the subprotocols they offer. */
export function readSubprotocol(headers: IncomingHttpHeaders, entryOf: RegExp): string | undefined {
  const offered = headers['sec-websocket-protocol']
  if (offered === undefined || headers.upgrade?.toLowerCase() !== 'websocket') return undefined
  for (const entry of offered.split(',')) {
    const secret = entryOf.exec(entry.trim())?.[1]
    if (secret !== undefined) return secret
  }
  return undefined
}

/** Where clients of OpenAI, Anthropic, Azure and Google put their key. */
export const KEY_HEADERS = ['x-api-key', 'api-key', 'x-goog-api-key'] as const

/** The secret a client sends: `Authorization: Bearer`, else the first of the other headers; a browser's WebSocket: a subprotocol. */
export function readCredential(headers: IncomingHttpHeaders): string | undefined {
  const sent =
    readBearer(headers.authorization) ??
    firstOf(headers['x-api-key']) ??
    firstOf(headers['api-key']) ??
    firstOf(headers['x-goog-api-key']) ??
    readSubprotocol(headers, KEY_ENTRY)
  return fitSecret(sent)
}

/** What may be a secret of ours. */
export function fitSecret(sent: string | undefined): string | undefined {
  const secret = sent?.trim()
  return secret && secret.length <= MOST_SECRET_BYTES && PRINTABLE.test(secret) ? secret : undefined
}

/** What is odd about a credential that is refused; its owner will not see it otherwise. */
export function describeOddity({ authorization, ...headers }: IncomingHttpHeaders): string {
  if (authorization !== undefined) {
    if (/^bearer[ :]+bearer\b/i.test(authorization))
      return ' The header "Authorization" says "Bearer" twice: configure the token alone, your client adds the word.'
    if (/^bearer *:/i.test(authorization)) return ' Write "Bearer <token>" without a colon.'
    if (/^bearer *$/i.test(authorization))
      return ' Nothing follows "Bearer": is the variable of your token empty?'
    if (/^bearer +["'<]/i.test(authorization)) return ' Write the token without quotes or brackets.'
    if (!/^bearer\b/i.test(authorization)) return ' The header "Authorization" does not begin with "Bearer ".'
    return ''
  }
  const named = KEY_HEADERS.find((name) => /^bearer\b/i.test(firstOf(headers[name]) ?? ''))
  return named === undefined ? '' : ` The header "${named}" takes the token alone, without "Bearer".`
}

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
  return digest('sha256', secret)
}

/** The secret's first characters, for people to tell tokens apart. */
export function prefixOf(secret: string): string {
  return secret.slice(0, MADE_HERE.test(secret) ? PREFIX_LENGTH : CHOSEN_PREFIX_LENGTH)
}
