import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { CHECK_NAME, CHECK_PORT } from './self-check.ts'

/** A look is answered at once when something has changed, else after this long: Traefik itself waits for 10 s. */
const LONGEST_LOOK_MS = 5000
const LAST_LOOK_MS = 2000
const [TAKEN_EVERY_MS, TAKEN_WITHIN_MS] = [20, 15_000]

/** The part of Traefik's configuration that is this process' own: where its check leads, and what is ordered now. */
function buildConfiguration(names: readonly string[], checkNames: readonly string[]): object {
  return {
    tcp: {
      routers: {
        'certificate-check': {
          rule: checkNames.map((name) => `HostSNI(\`${name}\`)`).join(' || '),
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
  }
}

/** Serves nothing: the routes of edge/routes.yml come first. Its name is what makes Traefik order a certificate. */
function orderFor(name: string): [string, object] {
  return [
    `certificate-${name}`,
    {
      rule: `Host(\`${name}\`)`,
      priority: 1,
      entryPoints: ['websecure'],
      service: 'noop@internal',
      tls: { certResolver: 'letsencrypt' },
    },
  ]
}

/**
 * Names that Traefik shall order a certificate for. Traefik orders for each name without one at every change of its
 * configuration, also of the certificates of others and of its own challenges: a name that stays is ordered again the
 * moment it has failed. So a name is shown until Traefik has taken it, for a tenth of a second, and that is one order.
 * The order goes on, and what comes of it is served and renewed without any of this.
 */
export interface Orders {
  /** Resolves when Traefik has taken the name. */
  order(name: string): Promise<void>
  /** The configuration: waits for a change, unless it is a connection's first look. */
  look(isFirst: boolean): Promise<object>
  /** Resolves when Traefik has been shown that nothing is ordered any more, or has not looked for two seconds. */
  end(): Promise<void>
}

/** `isReached` asks Traefik by this name for the check, which it knows when it has taken the configuration. */
export function createOrders(isReached: (checkName: string) => Promise<boolean>): Orders {
  const waiting = new Map<string, () => void>()
  const changed = new EventEmitter().setMaxListeners(0)
  let shown: { names: readonly string[]; checkNames: readonly string[] } = {
    names: [],
    checkNames: [CHECK_NAME],
  }
  let answered: object | undefined
  let isRunning = false
  let rounds = 0

  const show = (names: readonly string[], checkNames: readonly string[]) => {
    shown = { names, checkNames }
    changed.emit('change')
  }
  const untilTaken = async (checkName: string) => {
    const end = performance.now() + TAKEN_WITHIN_MS
    while (!(await isReached(checkName)) && performance.now() < end) await sleep(TAKEN_EVERY_MS)
  }
  const run = async () => {
    isRunning = true
    while (waiting.size > 0) {
      const round = [...waiting]
      waiting.clear()
      const checkName = `order-${++rounds}.${CHECK_NAME}`
      show(
        round.map(([name]) => name),
        [CHECK_NAME, checkName],
      )
      await untilTaken(checkName)
      show([], [CHECK_NAME])
      for (const [, done] of round) done()
    }
    isRunning = false
  }
  return {
    order: (name) =>
      new Promise((done) => {
        waiting.set(name, done)
        if (!isRunning) void run()
      }),
    async look(isFirst) {
      const isQuiet = shown.names.length === 0 && answered === shown
      if (!isFirst && isQuiet)
        await once(changed, 'change', { signal: AbortSignal.timeout(LONGEST_LOOK_MS) }).catch(() => undefined)
      answered = shown
      return buildConfiguration(shown.names, shown.checkNames)
    },
    async end() {
      waiting.clear()
      show([], [CHECK_NAME])
      const end = performance.now() + LAST_LOOK_MS
      while (answered !== shown && performance.now() < end) await sleep(TAKEN_EVERY_MS)
    },
  }
}
