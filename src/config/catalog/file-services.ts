import type { SourcedRoute } from './catalog.ts'
import { formatPath, type ModelsFile } from './models-schema.ts'
import { buildWebsocketRoute } from './service-short-forms.ts'

/** The rows of the table that a models file says. */
export function readFileServices(file: ModelsFile, mistakes: string[]): SourcedRoute[] {
  return file.wsRoutes.flatMap(([path, target]) => {
    const route = buildWebsocketRoute(path, target)
    if (!('mistake' in route))
      return [{ source: `MODELS_FILE: ${formatPath(['wsRoutes', route.prefix])}`, route }]
    mistakes.push(`MODELS_FILE: wsRoutes ${route.mistake}`)
    return []
  })
}
