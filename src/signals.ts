import { join } from 'node:path'

/** npm hands on what its whole group was told as well: what comes so soon after the first is the same order again. */
const SAME_ORDER_MS = 2_000
const LOOK_EVERY_MS = 500
/** A terminal that closes tells everybody at once: whoever started us may be gone when we look. */
const HANGUP_MS = 5_000

const STOPS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR2'] as const
const OK = 0
const FAILED = 1

/** What a process that serves does when it is told something. */
export interface Orders {
  /** Ends everything. `wasServing`: others may know of this gateway, and must see it leave. */
  stop(wasServing: boolean): Promise<void>
  reload(): void
  warn(text: string): void
}

/**
 * What the process is told from outside, from its first moment on: SIGTERM and its kin end it, SIGHUP reads what may be
 * read again. Until there is something to end, it ends at once; until it serves, it first finishes its start.
 */
export class Signals {
  #state: 'empty' | 'starting' | 'serving' | 'stopping' = 'empty'
  #orders: Orders | undefined
  #isStopWanted = false
  #isReloadWanted = false
  #stoppedAt = 0
  #hungUpAt = Number.NEGATIVE_INFINITY

  readonly #isTied: boolean

  constructor(env: NodeJS.ProcessEnv) {
    this.#isTied = isTied(env, process.ppid)
    for (const signal of STOPS) process.on(signal, () => this.#stop())
    process.on('SIGHUP', () => this.#reload())
    // Left to Node it would open a debugger; logrotate sends it to whoever it knows.
    process.on('SIGUSR1', () => this.#orders?.warn('SIGUSR1 means nothing here'))
  }

  /** From here on there is something that has to be ended in order. */
  start(): void {
    this.#state = 'starting'
  }

  serve(orders: Orders): void {
    this.#state = 'serving'
    this.#orders = orders
    if (this.#isStopWanted) return this.#end(orders, false)
    if (this.#isReloadWanted) orders.reload()
    this.#watchStarter(orders)
  }

  #stop(): void {
    if (this.#state === 'stopping') {
      if (performance.now() - this.#stoppedAt > SAME_ORDER_MS) process.exit(FAILED)
      return
    }
    if (this.#state === 'empty') process.exit(OK)
    this.#isStopWanted = true
    if (this.#orders) this.#end(this.#orders, true)
  }

  #reload(): void {
    this.#hungUpAt = performance.now()
    this.#isReloadWanted = true
    this.#orders?.reload()
  }

  #end(orders: Orders, wasServing: boolean): void {
    this.#state = 'stopping'
    this.#stoppedAt = performance.now()
    orders.stop(wasServing).then(
      () => process.exit(OK),
      () => process.exit(FAILED),
    )
  }

  /**
   * Whoever is killed hands nothing on: without npm, or the older Node that handed over to this one, nobody could end
   * this process any more. Unless a terminal closed: then it goes on, as after `nohup`.
   */
  #watchStarter(orders: Orders): void {
    if (!this.#isTied) return
    const starter = process.ppid
    let looks = 0
    const timer = setInterval(() => {
      if (process.ppid === starter) return
      // Its own hangup may be on its way.
      if (looks++ === 0) return
      clearInterval(timer)
      if (this.#state !== 'serving') return
      if (performance.now() - this.#hungUpAt < HANGUP_MS)
        return orders.warn('the terminal was closed: the gateway goes on')
      orders.warn('what started this gateway was killed: it ends as well')
      this.#end(orders, true)
    }, LOOK_EVERY_MS).unref()
  }
}

/** Whether this process ends with its parent: with our own `npm start`, and with the Node that handed over. */
function isTied(env: NodeJS.ProcessEnv, parent: number): boolean {
  if (env.HANDED_OVER_BY === String(parent)) return true
  const ours = join(import.meta.dirname, '..', 'package.json')
  return env.npm_lifecycle_event === 'start' && env.npm_package_json === ours
}
