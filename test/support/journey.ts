import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import type { TestGateway, TokenOptions } from './gateway.ts'
import { mintToken, startGateway } from './gateway.ts'
import type { ModelsShape } from './models.ts'
import { modelsFile, providerKeys } from './models.ts'
import type { FakeProvider, ProviderOptions } from './provider.ts'
import { startProvider } from './provider.ts'
import type { Owner } from './waiting.ts'

/** A gateway with its providers, and a token that may spend. */
export interface Journey<Name extends string> {
  gateway: TestGateway
  providers: Record<Name, FakeProvider>
  token: string
}

export interface JourneyOptions<Name extends string> {
  providers: readonly Name[]
  models: ModelsShape['models']
  /** What of a provider's entry is not its URL. */
  entries?: Partial<Record<Name, object>>
  servers?: Partial<Record<Name, ProviderOptions>>
  margin?: number
  env?: Record<string, string>
  token?: TokenOptions
}

/** How long something may take that is certain to come: on a slow machine, only a failure waits this long. */
const PATIENCE_MS = 30_000

/** Nobody's limit of requests is what these tests are about. */
const NO_LIMIT = { RATE_LIMIT_PER_MINUTE: '1000000' }

/** Starts providers by name, and in front of them a gateway with these models. */
export async function startJourney<Name extends string>(
  t: Owner,
  options: JourneyOptions<Name>,
): Promise<Journey<Name>> {
  const { providers: names, models, entries = {}, servers = {} } = options
  const started = await Promise.all(
    names.map(async (name) => [name, await startProvider(t, Reflect.get(servers, name) ?? {})] as const),
  )
  const file = modelsFile(t, {
    ...(options.margin === undefined ? {} : { margin: options.margin }),
    providers: Object.fromEntries(
      started.map(([name, { url }]) => [
        name,
        { baseUrl: url, keyEnv: `${name.toUpperCase()}_TEST_KEY`, ...Reflect.get(entries, name) },
      ]),
    ),
    models,
  })
  const gateway = await startGateway(t, {
    modelsFile: file,
    env: { ...NO_LIMIT, ...providerKeys(...names), ...options.env },
  })
  const token = await mintToken(t, { dbDir: gateway.dbDir, env: options.env ?? {} }, options.token)
  return { gateway, providers: Object.fromEntries(started) as Record<Name, FakeProvider>, token }
}

/** A row of `usage.sqlite`, its columns by name. */
export type SeenRow = Record<string, number | string>

/** Reads the ledger beside the running server, as an operator's script would. */
export function readRows({ dbDir }: { dbDir: string }, requestId?: string): SeenRow[] {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true })
  try {
    const all = 'SELECT * FROM usage'
    const found = requestId
      ? db.prepare(`${all} WHERE request_id = ?`).all(requestId)
      : db.prepare(`${all} ORDER BY rowid`).all()
    return found as SeenRow[]
  } finally {
    db.close()
  }
}

/** The rows that cost something, once there are so many: a settlement is known a moment before it is on the disk. */
export function waitForPaidRows(gateway: { dbDir: string }, count: number): Promise<SeenRow[]> {
  return waitUntil(
    () => readRows(gateway).filter(({ charged_micros: micros }) => Number(micros) > 0),
    (rows) => rows.length >= count,
  )
}

/** The row of one request: a file says nothing of its changes, so it is read again until the row is there. */
export async function waitForRow(gateway: { dbDir: string }, requestId: string): Promise<SeenRow> {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; await setTimeout(10)) {
    const [row] = readRows(gateway, requestId)
    if (row) return row
  }
  throw new Error(`no usage row for ${requestId}`)
}

/** Reads again until it holds: for what only the gateway's own answers tell. */
export async function waitUntil<T>(read: () => Promise<T> | T, holds: (seen: T) => boolean): Promise<T> {
  const until = Date.now() + PATIENCE_MS
  for (;;) {
    const seen = await read()
    if (holds(seen)) return seen
    if (Date.now() > until) throw new Error(`waited in vain: ${JSON.stringify(seen)}`)
    await setTimeout(10)
  }
}
