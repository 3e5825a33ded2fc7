import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Catalog, Model } from '../config/catalog/catalog.ts'
import { modelNotFound } from '../errors.ts'
import { isModelAllowed } from '../routing/access.ts'

export interface ModelsOptions {
  catalog(): Catalog
}

/** Models have no birthday here; SDKs want a number of seconds. */
const CREATED = 1_700_000_000

const QUICK = { exposeHeadRoute: true, config: { isQuick: true } }

/** `GET /v1/models` and `/v1/models/{id}`: what the caller's token may use, in the dialect that it speaks. */
export const modelRoutes = async (app: FastifyInstance, { catalog }: ModelsOptions): Promise<void> => {
  app.get('/models', QUICK, async (request) => {
    const models = [...catalog().models.values()].filter((model) =>
      isModelAllowed(request.token.models, model.name),
    )
    const data = models.map((model) => describe(request, model))
    if (!speaksAnthropic(request)) return { object: 'list', data }
    return {
      data,
      has_more: false,
      first_id: models.at(0)?.name ?? null,
      last_id: models.at(-1)?.name ?? null,
    }
  })

  app.get<{ Params: { '*': string } }>('/models/*', QUICK, async (request) => {
    const name = request.params['*']
    const model = catalog().models.get(name)
    if (model && isModelAllowed(request.token.models, name)) return describe(request, model)
    throw modelNotFound('This model does not exist here; GET /v1/models lists what your token may use', {
      param: 'model',
    })
  })
}

const speaksAnthropic = (request: FastifyRequest): boolean =>
  request.headers['anthropic-version'] !== undefined

const describe = (request: FastifyRequest, model: Model): Record<string, unknown> =>
  speaksAnthropic(request)
    ? {
        type: 'model',
        id: model.name,
        display_name: model.name,
        created_at: new Date(CREATED * 1000).toISOString(),
      }
    : {
        id: model.name,
        object: 'model',
        created: CREATED,
        owned_by: model.plan[0]?.provider.name ?? 'gateway',
      }
