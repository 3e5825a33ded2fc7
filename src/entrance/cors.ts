import fp from 'fastify-plugin'

const PREFLIGHT_SECONDS = 600
const READABLE_HEADERS = [
  'x-request-id',
  'x-ratelimit-limit-requests',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-reset-requests',
  'x-gateway-provider',
  'x-gateway-model',
  'x-gateway-attempts',
  'x-gateway-credits-charged',
  'x-gateway-credits-remaining',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'idempotent-replayed',
]

/** A `*` of the first label: no dot, so that nobody's own domain below it is meant. */
const STARRED = /^[a-z0-9-]+$/

function matches(origin: string, entry: string): boolean {
  const star = entry.indexOf('*')
  if (star < 0) return origin === entry
  const rest = entry.slice(star + 1)
  if (!origin.startsWith(entry.slice(0, star)) || !origin.endsWith(rest)) return false
  return STARRED.test(origin.slice(star, Math.max(star, origin.length - rest.length)))
}

/** Exact but for upper case; the `*` of `https://*.example.app` and `https://my-*.example.app` is within one label. `null` is what any sandboxed page sends. */
export function isAllowedOrigin(origin: string | undefined, allowlist: readonly string[]): boolean {
  if (origin === undefined || origin === 'null') return false
  const asked = origin.toLowerCase()
  return allowlist.some((entry) => matches(asked, entry.toLowerCase()))
}

export interface CorsOptions {
  allowlist: readonly string[]
}

/** Lets named browser origins read our answers. Never with credentials: tokens come in headers, not cookies. */
export const cors = fp<CorsOptions>(
  async (app, { allowlist }) => {
    if (allowlist.length === 0) return
    const { default: fastifyCors } = await import('@fastify/cors')
    await app.register(fastifyCors, {
      origin: (origin, done) => done(null, isAllowedOrigin(origin, allowlist)),
      credentials: false,
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: READABLE_HEADERS,
      maxAge: PREFLIGHT_SECONDS,
      strictPreflight: false,
    })
  },
  { name: 'cors' },
)
