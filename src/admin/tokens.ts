import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import * as v from 'valibot'
import type { TokenStore } from '../stores/contracts/token-store.ts'
import {
  creditsBody,
  mintBody,
  secretBody,
  type TokenView,
  tokenAnswer,
  tokenParams,
} from './token-schemas.ts'
import { openTokenWork, type TokenWork } from './token-work.ts'

interface OneToken {
  Params: v.InferOutput<typeof tokenParams>
}

const answered = { params: tokenParams, response: { 200: tokenAnswer } }

function note(request: FastifyRequest, { id, user }: TokenView, text: string): void {
  request.log.info({ tokenId: id, user }, text)
}

/** Makes, lists and changes tokens. */
export async function adminTokens(app: FastifyInstance, { tokens }: { tokens: TokenStore }): Promise<void> {
  const work = openTokenWork(tokens)
  app.post<{ Body: v.InferOutput<typeof mintBody> }>(
    '/tokens',
    { schema: { body: mintBody, response: { 201: tokenAnswer } } },
    async (request, reply) => {
      const token = await work.mint(request.body)
      request.log.info({ tokenId: token.id, user: token.user, type: token.type }, 'token minted')
      return reply.code(201).send(token)
    },
  )

  app.get('/tokens', async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(Readable.from(writeList(work))),
  )

  addStates(app, work)
  addChanges(app, work)
}

/** `{"tokens": [...]}` page by page, each token through the schema: what that does not name stays inside. */
async function* writeList(work: TokenWork): AsyncGenerator<string> {
  let before = '{"tokens":['
  for await (const page of work.pages()) {
    yield before + page.map((token) => JSON.stringify(v.parse(tokenAnswer, token))).join(',')
    before = ','
  }
  yield before === ',' ? ']}' : `${before}]}`
}

/** What a token that is there may be: revoked, disabled, enabled again. */
function addStates(app: FastifyInstance, work: TokenWork): void {
  const one = (
    method: 'PUT' | 'DELETE',
    url: string,
    change: (id: string) => Promise<TokenView>,
    text: string,
  ) =>
    app.route<OneToken>({
      method,
      url,
      schema: answered,
      handler: async (request) => {
        const token = await change(request.params.id)
        note(request, token, text)
        return token
      },
    })
  one('DELETE', '/tokens/:id', work.revoke, 'token revoked')
  one('PUT', '/tokens/:id/disabled', work.disable, 'token disabled')
  one('DELETE', '/tokens/:id/disabled', work.enable, 'token enabled')
}

/** What else may become of a token that is there. */
function addChanges(app: FastifyInstance, work: TokenWork): void {
  app.post<OneToken & { Body: v.InferOutput<typeof creditsBody> }>(
    '/tokens/:id/credits',
    { schema: { ...answered, body: creditsBody } },
    async (request) => {
      const token = await work.adjust(request.params.id, request.body)
      const { operationId, micros } = request.body
      request.log.info({ tokenId: token.id, user: token.user, operationId, micros }, 'token credits changed')
      return token
    },
  )

  app.post<OneToken & { Body: v.InferOutput<typeof secretBody> }>(
    '/tokens/:id/secret',
    { schema: { ...answered, body: secretBody } },
    async (request) => {
      const token = await work.rotate(request.params.id, request.body)
      note(request, token, 'token rotated')
      return token
    },
  )
}
