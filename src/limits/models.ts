import type { FastifyInstance } from 'fastify'
import type { Catalog, Model } from '../config/catalog/catalog.ts'
import type { ListedModel } from '../dialects/dialect.ts'
import { dialectOfHeaders } from '../dialects/headers.ts'
import { modelNotFound } from '../errors.ts'
import { isModelAllowed } from '../routing/plan.ts'

export interface ModelsOptions {
  catalog(): Catalog
}

const QUICK = { exposeHeadRoute: true, config: { isQuick: true } }

/** `GET /v1/models` and `/v1/models/{id}`: what the caller's token may use, in the dialect that it speaks. */
export async function modelRoutes(app: FastifyInstance, { catalog }: ModelsOptions): Promise<void> {
  app.get('/models', QUICK, async (request) => {
    const models = [...catalog().models.values()].filter((model) =>
      isModelAllowed(request.token.models, model.name),
    )
    return dialectOfHeaders(request.headers).listModels(models.map(listed))
  })

  app.get<{ Params: { '*': string } }>('/models/*', QUICK, async (request) => {
    const name = request.params['*']
    const model = catalog().models.get(name)
    if (model && isModelAllowed(request.token.models, name))
      return dialectOfHeaders(request.headers).describeModel(listed(model))
    throw modelNotFound('This model does not exist here; GET /v1/models lists what your token may use', {
      param: 'model',
    })
  })
}

function listed({ name, plan }: Model): ListedModel {
  return { name, owner: plan[0]?.provider.name ?? 'gateway' }
}
