import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { createJwtCheck, type JwtCheck } from './auth/jwt.ts'
import type { Settings } from './config/env/settings.ts'
import type { Shared } from './exchange/paid-call.ts'
import type { ForwardShared } from './services/forward.ts'
import type { Targets } from './services/targets.ts'
import { openTraceIds } from './services/trace.ts'
import { get } from './upstream/get.ts'

/** Documents of others, such as the keys that JWTs are signed with. */
const MOST_DOCUMENT_BYTES = 512 * 1024
const DOCUMENT_TIMEOUT_MS = 5_000
const OK = 200

/** What all requests to services of this app share; it is closed with the app. */
export interface ServicesShared {
  forwarding: ForwardShared
  jwt: JwtCheck
}

/** How this gateway is named in `Via`: nobody else can know it, so whoever names it was here. */
function makePseudonym(): string {
  return `gw-${randomBytes(8).toString('hex')}`
}

export function openServicesShared(
  app: FastifyInstance,
  settings: Settings,
  { shared, targets }: { shared: Shared; targets: Targets },
): ServicesShared {
  const forwarding: ForwardShared = {
    ...shared,
    targets,
    timeouts: { ...shared.timeouts, bodyTimeoutMs: settings.bodyTimeoutMs },
    internalKey: settings.internalKey,
    pseudonym: makePseudonym(),
    makeTraceparent: openTraceIds(),
  }
  return { forwarding, jwt: openJwtCheck(app, settings, shared.upstreams) }
}

function openJwtCheck(app: FastifyInstance, settings: Settings, upstreams: Shared['upstreams']): JwtCheck {
  return createJwtCheck({
    rules: settings.jwt,
    fetchText: async (url) => {
      const rules = { timeoutMs: DOCUMENT_TIMEOUT_MS, maxBytes: MOST_DOCUMENT_BYTES }
      const { status, body } = await get(upstreams, new URL(url), rules)
      if (status !== OK) throw new Error(`the server of the keys answered ${status}`)
      return body.toString()
    },
    report: (problem) => {
      if (problem) app.log.error({ err: problem }, 'keys of JWTs cannot be read')
      else app.log.info('keys of JWTs can be read again')
    },
  })
}
