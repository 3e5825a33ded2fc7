import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Entry, FoundRoute } from '../config/catalog/service-routes.ts'
import type { Tokens } from '../stores/contracts/tokens.ts'
import type { JwtCheck } from './jwt.ts'

export interface ServiceAuthOptions {
  /** Who may enter the routes of this scope. */
  entry: Entry
  tokens: Pick<Tokens, 'find'>
  jwt: JwtCheck
  /** What the guard has found: `request.service`. */
  serviceOf(request: FastifyRequest): FoundRoute | undefined
  /** It is called before a request without a valid credential is refused, and may throw another refusal. */
  onRefused?(request: FastifyRequest): Promise<void> | void
  now?: () => number
}

/**
 * Who calls a service: sets `request.caller`, for a token also `request.token`, and `request.secretHash` for whoever may
 * lose the right while the answer runs. Or turns the request away. It takes the place of `client-auth` in its scope.
 */
export const serviceAuth = fp<ServiceAuthOptions>(
  async (app, _options) => {
    app.decorateRequest('token')
    app.decorateRequest('secretHash', '')
  },
  { name: 'client-auth' },
)
