import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type AddressCheck, buildAddressCheck } from '../config/address-blocks.ts'
import { addressNotAllowed, GatewayError, invalidApiKey, storeUnavailable } from '../errors.ts'
import type { Token, Tokens } from '../stores/contracts/tokens.ts'
import { readCredential } from './credential.ts'
import { hashSecret } from './secret.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** There for everything past the auth room. */
    token: Token
    /** Of the secret that it came with: while a rotation overlaps, one of several. */
    secretHash: string
  }
}

export interface ClientAuthOptions {
  tokens: Pick<Tokens, 'find'>
  now?: () => number
  /** Before a request without a valid token is refused; may throw another refusal. */
  onRefused?(request: FastifyRequest): Promise<void> | void
}

const MISSING = 'Send your token as "Authorization: Bearer <token>" or "x-api-key: <token>".'
/** One text for unknown, revoked, disabled, rotated and expired: which of them is nobody's business but the owner's. */
const INVALID = 'The token is not valid. Ask for a new one.'

const isUsable = (token: Token, hash: string, at: number): boolean => {
  if (token.revokedAt !== undefined || token.disabledAt !== undefined) return false
  if (token.expiresAt !== undefined && token.expiresAt <= at) return false
  const earlier = token.previous?.find((one) => one.hash === hash)
  return earlier === undefined || earlier.until > at
}

const unfound = (cause: unknown): never => {
  if (cause instanceof GatewayError) throw cause
  throw storeUnavailable('Tokens cannot be checked right now. Try again in a moment.', { cause })
}

const findToken = (tokens: Pick<Tokens, 'find'>, hash: string): Promise<Token | undefined> =>
  tokens.find(hash).catch(unfound)

/** Whether a secret that was let in once still would be: for what lives longer than a request. */
export const isStillUsable = async (
  tokens: Pick<Tokens, 'find'>,
  hash: string,
  at: number,
): Promise<boolean> => {
  const token = await findToken(tokens, hash)
  return token !== undefined && isUsable(token, hash, at)
}

/** Keeps what was read of a token's list for as long as the list itself lives. */
const createAddressGuard = (): ((token: Token, address: string) => void) => {
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
  async (app, { tokens, now = Date.now, onRefused }) => {
    app.decorateRequest('token')
    app.decorateRequest('secretHash', '')
    const guardAddress = createAddressGuard()
    app.addHook('onRequest', async (request) => {
      const secret = readCredential(request.headers)
      const hash = secret === undefined ? '' : hashSecret(secret)
      const token = secret === undefined ? undefined : await findToken(tokens, hash)
      if (token && isUsable(token, hash, now())) {
        guardAddress(token, request.ip)
        request.token = token
        request.secretHash = hash
        return
      }
      await onRefused?.(request)
      throw invalidApiKey(secret === undefined ? MISSING : INVALID)
    })
  },
  { name: 'client-auth' },
)
