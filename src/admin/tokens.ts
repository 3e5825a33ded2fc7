import type { FastifyInstance } from 'fastify'
import type { Static } from 'typebox'
import { notFound } from '../errors.ts'
import type { Token, TokenStore } from '../stores/token-store.ts'
import { mintBody, type TokenView, tokenAnswer, tokenParams, tokensAnswer } from './token-schemas.ts'

/** What an operator may see of the token, with its credits. */
export async function viewToken(tokens: TokenStore, token: Token): Promise<TokenView> {
  const { id, prefix, type, user, name, models, createdAt } = token
  const { expiresAt, revokedAt, requestsPerMinute, requestsPerDay } = token
  return {
    id,
    prefix,
    type,
    user,
    name,
    models: [...models],
    createdAt,
    expiresAt,
    revokedAt,
    requestsPerMinute,
    requestsPerDay,
    credits: await tokens.credits(id),
  }
}

/** Every token there is, oldest first. */
export const viewTokens = async (tokens: TokenStore): Promise<TokenView[]> =>
  Promise.all((await tokens.list()).map((token) => viewToken(tokens, token)))

/** Makes, lists and revokes tokens. */
export async function adminTokens(app: FastifyInstance, { tokens }: { tokens: TokenStore }): Promise<void> {
  app.post<{ Body: Static<typeof mintBody> }>(
    '/tokens',
    { schema: { body: mintBody, response: { 201: tokenAnswer } } },
    async (request, reply) => {
      const token = await tokens.mint(request.body)
      request.log.info({ tokenId: token.id, user: token.user, type: token.type }, 'token minted')
      return reply.code(201).send(await viewToken(tokens, token))
    },
  )

  app.get('/tokens', { schema: { response: { 200: tokensAnswer } } }, async () => ({
    tokens: await viewTokens(tokens),
  }))

  app.delete<{ Params: Static<typeof tokenParams> }>(
    '/tokens/:id',
    { schema: { params: tokenParams, response: { 200: tokenAnswer } } },
    async (request) => {
      const token = await tokens.revoke(request.params.id, Date.now())
      if (token === undefined) throw notFound(`There is no token with the id "${request.params.id}"`)
      request.log.info({ tokenId: token.id, user: token.user }, 'token revoked')
      return viewToken(tokens, token)
    },
  )
}
