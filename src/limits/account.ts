import type { FastifyInstance } from 'fastify'
import type { Accounts } from '../stores/contracts/accounts.ts'

export interface AccountOptions {
  tokens: Accounts
  /** The gateway's defaults, for tokens without limits of their own. */
  requestsPerMinute: number
  requestsPerDay: number | undefined
}

/** `GET /v1/token`: what the caller's own token is and has; asks no provider, costs nothing. */
export async function accountRoute(app: FastifyInstance, options: AccountOptions): Promise<void> {
  app.get('/token', { exposeHeadRoute: true, config: { isQuick: true } }, async ({ token }, reply) => {
    const credits = await options.tokens.credits(token.id)
    reply.header('cache-control', 'no-store')
    return {
      user: token.user,
      type: token.type,
      name: token.name,
      prefix: token.prefix,
      models: token.models,
      expiresAt: token.expiresAt === undefined ? null : new Date(token.expiresAt).toISOString(),
      limits: {
        perMinute: token.requestsPerMinute ?? options.requestsPerMinute,
        perDay: token.requestsPerDay ?? options.requestsPerDay ?? null,
      },
      credits: {
        credited: credits.creditedMicros / 1e6,
        balance: credits.balanceMicros / 1e6,
        held: credits.heldMicros / 1e6,
        charged: credits.chargedMicros / 1e6,
      },
    }
  })
}
