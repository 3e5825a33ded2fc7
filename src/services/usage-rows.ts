import type { FastifyRequest } from 'fastify'
import type { FoundRoute } from '../config/catalog/service-routes.ts'
import type { UsageRows } from '../stores/contracts/usage-rows.ts'
import { PathTemplates } from './paths/path-template.ts'

export interface ServiceRowOptions {
  rows: UsageRows
  serviceOf(request: FastifyRequest): FoundRoute | undefined
}

/**
 * Notes the usage row of a service's request that is over: to be called once its line is written, which has all that is
 * known of it. What was refused at the door leaves none: nobody fills the table with guessed tokens.
 */
export function openServiceRows({ rows, serviceOf }: ServiceRowOptions): (request: FastifyRequest) => void {
  const templates = new PathTemplates()
  return (request) => {
    const route = serviceOf(request)?.route
    if (route === undefined || !route.writesUsage || !request.isAdmitted) return
    const { line, caller } = request
    const latencyMs = line.latencyMs ?? 0
    const status = line.status ?? 0
    rows.note({
      requestId: request.id,
      tokenId: caller?.kind === 'token' ? caller.id : '',
      user: line.user ?? '',
      provider: route.name,
      endpoint: 'service',
      status,
      latencyMs,
      firstByteMs: line.firstByteMs ?? 0,
      attempts: line.attempts ?? 0,
      at: Math.round(Date.now() - latencyMs),
      method: request.method,
      path: templates.of(route, request.url, status),
      bytesIn: line.bytesIn ?? 0,
      bytesOut: line.bytesOut ?? 0,
    })
  }
}
