import type { Outage } from '../outage.ts'
import type { Client } from './client.ts'
import { describeRefusal } from './refusals.ts'

const TRY_EVERY_MS = 250

export interface NextClientOptions {
  /** Throws while this is not a Redis that can be used. */
  probe(): Promise<void>
  /** It is the owner's from here on. */
  proven(): void
  failed(error: unknown): void
  outage: Outage
}

/** A client of other credentials or another host, until it has proven itself or is given up: it may take its time. */
export class NextClient {
  readonly #client: Client
  readonly #options: NextClientOptions
  readonly #note: (error: unknown) => void
  #timer: NodeJS.Timeout | undefined
  #isOver = false

  constructor(client: Client, options: NextClientOptions) {
    this.#client = client
    this.#options = options
    this.#note = (error) => this.#failed(error)
    client.on('error', this.#note)
    client.connect().catch(() => undefined)
    this.#again()
  }

  close(): void {
    if (this.#isOver) return
    this.#end()
    this.#client.disconnect()
  }

  #end(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#client.off('error', this.#note)
  }

  #again(): void {
    if (!this.#isOver) this.#timer = setTimeout(() => this.#try(), TRY_EVERY_MS)
  }

  async #try(): Promise<void> {
    const { status } = this.#client
    // ioredis gives up for good when it hears of a failover while it asks a sentinel.
    if (status === 'end') this.#client.connect().catch(() => undefined)
    if (status !== 'ready') return this.#again()
    try {
      await this.#options.probe()
    } catch (error) {
      this.#failed(error)
      return this.#again()
    }
    if (this.#isOver) return
    this.#options.proven()
    this.#end()
    this.#options.outage.back()
  }

  #failed(error: unknown): void {
    if (this.#isOver) return
    const reason = describeRefusal(error)
    if (reason) this.#options.outage.away(reason)
    this.#options.failed(error)
  }
}
