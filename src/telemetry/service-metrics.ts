import type { Registry } from '@prometheus-io/client'

type Client = typeof import('@prometheus-io/client')

/** One route and where it leads, at the moment of a scrape. */
export interface ServiceState {
  route: string
  targets: readonly { target: string; isUp: boolean; inFlight: number }[]
}

const LATENCIES_S = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
/** Beyond it, answers that came before the package was loaded are not timed. */
const MOST_EARLY = 1000

/** How long services take to answer, by route. */
export class ServiceTimings {
  readonly #early: { route: string; latencyMs: number }[] = []
  #observe: ((route: string, latencyMs: number) => void) | undefined

  count(route: string, latencyMs: number): void {
    if (this.#observe) this.#observe(route, latencyMs)
    else if (this.#early.length < MOST_EARLY) this.#early.push({ route, latencyMs })
  }

  register({ Histogram }: Client, registry: Registry): void {
    const histogram = new Histogram({
      name: 'gateway_service_first_byte_seconds',
      help: 'From the ask of a service to the head of its answer.',
      labelNames: ['route'],
      buckets: LATENCIES_S,
      registers: [registry],
    })
    this.#observe = (route, latencyMs) => histogram.observe({ route }, latencyMs / 1000)
    for (const { route, latencyMs } of this.#early.splice(0)) this.#observe(route, latencyMs)
  }
}

/** Targets and routes are the operator's own words, so their number is bounded. */
export function setServiceGauges(
  { Gauge }: Client,
  registry: Registry,
  read: () => readonly ServiceState[],
): void {
  new Gauge({
    name: 'gateway_service_target_up',
    help: '1: the target of a route is asked; 0: others are, since it failed or its checks do.',
    labelNames: ['route', 'target'],
    registers: [registry],
    collect() {
      this.reset()
      for (const { route, targets } of read())
        for (const { target, isUp } of targets) this.set({ route, target }, isUp ? 1 : 0)
    },
  })
  new Gauge({
    name: 'gateway_service_in_flight',
    help: 'Requests and WebSockets of a route that run at its targets.',
    labelNames: ['route'],
    registers: [registry],
    collect() {
      this.reset()
      for (const { route, targets } of read())
        for (const { inFlight } of targets) this.inc({ route }, inFlight)
    },
  })
}
