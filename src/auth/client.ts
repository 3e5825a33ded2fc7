import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { GatewayError, invalidApiKey, storeUnavailable } from '../errors.ts'
import type { Token, TokenStore } from '../stores/token-store.ts'
import { readCredential } from './credential.ts'
import { hashSecret } from './secret.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** There for everything past the auth room. */
    token: Token
  }
}

export interface ClientAuthOptions {
  tokens: Pick<TokenStore, 'find'>
  now?: () => number
  /** Before a request without a valid token is refused; may throw another refusal. */
  onRefused?(request: FastifyRequest): Promise<void> | void
}

const MISSING = 'Send your token as "Authorization: Bearer <token>" or "x-api-key: <token>".'
/** One text for unknown, revoked and expired: which of them is nobody's business but the owner's. */
const INVALID = 'The token is not valid. Ask for a new one.'

const isUsable = (token: Token, at: number): boolean =>
  token.revokedAt === undefined && (token.expiresAt === undefined || token.expiresAt > at)

const findToken = async (tokens: Pick<TokenStore, 'find'>, hash: string): Promise<Token | undefined> => {
  try {
    return await tokens.find(hash)
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause
    throw storeUnavailable('Tokens cannot be checked right now. Try again in a moment.', { cause })
  }
}

/** Whether a token that was let in once still would be: for what lives longer than a request. */
export const isStillUsable = async (
  tokens: Pick<TokenStore, 'find'>,
  { hash }: Token,
  at: number,
): Promise<boolean> => {
  const token = await findToken(tokens, hash)
  return token !== undefined && isUsable(token, at)
}

/** Who is asking: sets `request.token`, or turns the request away. */
export const clientAuth = fp<ClientAuthOptions>(
  async (app, { tokens, now = Date.now, onRefused }) => {
    app.decorateRequest('token')
    app.addHook('onRequest', async (request) => {
      const secret = readCredential(request.headers)
      const token = secret === undefined ? undefined : await findToken(tokens, hashSecret(secret))
      if (token && isUsable(token, now())) {
        request.token = token
        return
      }
      await onRefused?.(request)
      throw invalidApiKey(secret === undefined ? MISSING : INVALID)
    })
  },
  { name: 'client-auth' },
)
