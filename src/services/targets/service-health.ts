import type { FastifyInstance } from 'fastify'
import * as v from 'valibot'
import { insufficientRights } from '../../errors.ts'
import { checkWithValibot } from '../../route-schemas.ts'
import { addressOf } from './sticky.ts'
import type { Target } from './target.ts'
import type { Targets } from './targets.ts'

export interface ServiceHealthOptions {
  targets: Pick<Targets, 'report'>
  /** The clock of the targets, and the wall's. */
  now(): number
  wallMs(): number
}

const Time = v.string()

const TargetReport = v.object({
  target: v.string(),
  state: v.picklist(['up', 'resting', 'down']),
  since: Time,
  inFlight: v.number(),
  lastFailure: v.optional(v.object({ reason: v.string(), at: Time })),
  check: v.optional(
    v.object({
      path: v.string(),
      state: v.picklist(['up', 'down']),
      /** Why the last look failed. */
      reason: v.optional(v.string()),
      at: v.optional(Time),
    }),
  ),
})

const Report = v.object({
  /** `degraded`: a target is not up; `down`: a route has none that is. */
  status: v.picklist(['ok', 'degraded', 'down']),
  services: v.array(
    v.object({
      name: v.string(),
      prefix: v.string(),
      status: v.picklist(['ok', 'degraded', 'down']),
      targets: v.array(TargetReport),
    }),
  ),
})

type Status = v.InferOutput<typeof Report>['status']

/**
 * `GET /health/services`: each route of the table and its targets, for tokens of the type `admin`. It is 200 whatever it
 * says: the question was answered. After `client-auth`.
 */
export async function serviceHealth(
  app: FastifyInstance,
  { targets, now, wallMs }: ServiceHealthOptions,
): Promise<void> {
  checkWithValibot(app)
  const schema = { response: { 200: Report } }
  app.get('/health/services', { schema, config: { isQuick: true } }, async ({ token }, reply) => {
    if (token.type !== 'admin')
      throw insufficientRights('The state of services is for tokens of the type "admin".')
    const offset = wallMs() - now()
    const timeOf = (ms: number) => new Date(offset + ms).toISOString()
    const services = targets.report().map(([{ name, prefix }, all]) => ({
      name,
      prefix,
      status: statusOf(all),
      targets: all.map((target) => describeTarget(target, timeOf)),
    }))
    reply.header('cache-control', 'no-store')
    return { status: worstOf(services), services }
  })
}

function statusOf(targets: readonly Target[]): Status {
  const wellCount = targets.filter(({ state }) => state === 'up').length
  if (wellCount === targets.length) return 'ok'
  return wellCount > 0 ? 'degraded' : 'down'
}

function worstOf(services: readonly { status: Status }[]): Status {
  const isAny = (status: Status) => services.some((one) => one.status === status)
  return isAny('down') ? 'down' : isAny('degraded') ? 'degraded' : 'ok'
}

function describeTarget(target: Target, timeOf: (ms: number) => string): v.InferOutput<typeof TargetReport> {
  const { place, state, sinceMs, standing, check } = target
  const { inFlight, lastFailure } = standing
  return {
    target: addressOf(place),
    state,
    since: timeOf(sinceMs),
    inFlight,
    ...(lastFailure && { lastFailure: { reason: lastFailure.reason, at: timeOf(lastFailure.atMs) } }),
    ...(check && {
      check: {
        path: check.path,
        state: check.isDown ? 'down' : 'up',
        ...(check.lastReason !== undefined && { reason: check.lastReason }),
        ...(check.lastMs !== undefined && { at: timeOf(check.lastMs) }),
      },
    }),
  }
}
