import { CHECK_NAME, CHECK_PORT } from './self-check.ts'

/** Traefik takes in a provider's changes at most every 2 s, and of several in between the last alone. */
const LEAST_GAP_MS = 4000

/** The part of Traefik's configuration that is this process' own: where its check leads, and what is ordered now. */
const buildConfiguration = (names: readonly string[]): object => ({
  tcp: {
    routers: {
      'certificate-check': {
        rule: `HostSNI(\`${CHECK_NAME}\`)`,
        entryPoints: ['websecure'],
        service: 'certificate-check',
        tls: { passthrough: true },
      },
    },
    services: {
      'certificate-check': { loadBalancer: { servers: [{ address: `certificates:${CHECK_PORT}` }] } },
    },
  },
  ...(names.length === 0 ? {} : { http: { routers: Object.fromEntries(names.map(orderFor)) } }),
})

/** Serves nothing: the routes of edge/routes.yml come first. Its name is what makes Traefik order a certificate. */
const orderFor = (name: string): [string, object] => [
  `certificate-${name}`,
  {
    rule: `Host(\`${name}\`)`,
    priority: 1,
    entryPoints: ['websecure'],
    service: 'noop@internal',
    tls: { certResolver: 'letsencrypt' },
  },
]

/**
 * Names that Traefik shall order a certificate for. Traefik orders for each name without one at every change of its
 * configuration: of the certificates of others, too. So a name is shown to it once and is gone at the next look: one
 * order. That one goes on, and what comes of it is served and renewed without any of this.
 */
export interface Orders {
  /** Kept when Traefik has been shown the name. */
  order(name: string): Promise<void>
  /** The configuration at one look of Traefik's. */
  look(nowMs: number): object
}

export function createOrders(): Orders {
  const waiting = new Map<string, () => void>()
  let shown: readonly string[] = []
  let changedAtMs: number | undefined
  return {
    order: (name) => new Promise((done) => waiting.set(name, done)),
    look(nowMs) {
      changedAtMs ??= nowMs
      if (shown.length > 0) {
        shown = []
        changedAtMs = nowMs
      } else if (waiting.size > 0 && nowMs - changedAtMs >= LEAST_GAP_MS) {
        shown = [...waiting.keys()]
        changedAtMs = nowMs
        for (const done of waiting.values()) done()
        waiting.clear()
      }
      return buildConfiguration(shown)
    },
  }
}
