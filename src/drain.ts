import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { within } from './deadlines.ts'
import type { Live } from './live.ts'

export interface DrainLimits {
  delayMs: number
  graceMs: number
  settleMs: number
}

/** The gateway's way down: told first, then no new work, then what runs is waited for, cut and settled. */
export async function drainApp(app: FastifyInstance, live: Live, limits: DrainLimits): Promise<void> {
  const idle = async (): Promise<void> => {
    await app.drain.idle()
    await live.empty()
  }
  app.drain.announce()
  if (limits.delayMs > 0) await sleep(limits.delayMs)
  app.drain.begin()
  app.server.closeIdleConnections()
  await within(limits.graceMs, idle())
  live.cutAll()
  await within(limits.settleMs, idle())
  app.server.closeAllConnections()
}
