import pg from 'pg'
import { asError } from '../../errors.ts'
import type { Database } from './database.ts'

/** What a pool may hold and how long it waits. */
type PoolLimits = Pick<pg.PoolConfig, 'connectionTimeoutMillis' | 'query_timeout'>

/** Connections to a database that may move: those to the old place end with what they do. */
export class PostgresPool {
  readonly #database: Database
  readonly #limits: PoolLimits
  #url: string
  #pool: pg.Pool
  #isEnding = false

  constructor(database: Database, limits: PoolLimits) {
    this.#database = database
    this.#limits = limits
    this.#url = database.url
    this.#pool = this.#open()
  }

  async connect(): Promise<pg.PoolClient> {
    if (this.#url !== this.#database.url) this.#move()
    try {
      const client = await this.#pool.connect()
      this.#database.answers()
      return client
    } catch (error) {
      this.#database.failed(error)
      throw error
    }
  }

  /** Does this on a connection, which is given back. */
  async use<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.connect()
    let failure: Error | undefined
    try {
      return await work(client)
    } catch (error) {
      failure = asError(error)
      throw failure
    } finally {
      // Nobody knows what state it is in after a failure: closing it rolls back.
      client.release(failure)
    }
  }

  async end(): Promise<void> {
    if (this.#isEnding) return
    this.#isEnding = true
    await this.#pool.end()
  }

  #move(): void {
    const old = this.#pool
    this.#url = this.#database.url
    this.#pool = this.#open()
    old.end().catch(() => undefined)
  }

  #open(): pg.Pool {
    const pool = new pg.Pool({
      ...this.#limits,
      connectionString: this.#url,
      max: 2,
      application_name: 'llm-api-gateway',
    })
    // A connection that dies while it is idle: the next query opens another.
    pool.on('error', () => undefined)
    // One that dies while it is used: its query fails, or the next one. Unheard, the event would end the whole process.
    pool.on('connect', (client) => client.on('error', () => undefined))
    return pool
  }
}
