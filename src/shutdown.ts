import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { within } from './deadlines.ts'
import type { Live } from './live.ts'

export interface DrainLimits {
  delayMs: number
  graceMs: number
  settleMs: number
}

/** Announced, then no new work, then time for what runs; what still runs is cut, and its bills get their time. */
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
