import { join } from 'node:path'
import pino from 'pino'
import { buildApp, type Gateway } from '../../src/app.ts'
import { hashSecret, makeSecret } from '../../src/auth/client.ts'
import { buildCatalog } from '../../src/config/catalog/models-file.ts'
import { buildRoute, type SaidRoute } from '../../src/config/catalog/service-row.ts'
import { buildServiceTable } from '../../src/config/catalog/service-table.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { openStores } from '../../src/stores/open.ts'
import { type LogLine, temporaryFolder } from './gateway.ts'
import type { Owner } from './waiting.ts'

/** The whole app in the test's own process, with a table of services that the test says. */
export interface ServiceGateway {
  url: string
  port: number
  /** A token that may call every service. */
  token: string
  tokenId: string
  gateway: Gateway
  revoke(): Promise<void>
  /** The log so far. */
  lines(): LogLine[]
  setRoutes(routes: readonly SaidRoute[]): void
}

export interface ServiceGatewayOptions {
  env?: Record<string, string>
}

export async function openServiceGateway(
  t: Owner,
  routes: readonly SaidRoute[],
  { env = {} }: ServiceGatewayOptions = {},
): Promise<ServiceGateway> {
  const folder = temporaryFolder(t, 'gw-services-')
  const settings = {
    ...readSettings({
      ADMIN_FIRST: 'master-0123456789abcdef',
      DB_DIR: join(folder, 'db'),
      LOG_DIR: join(folder, 'logs'),
      RATE_LIMIT_PER_MINUTE: '1000000',
      SERVICE_REQUESTS_PER_MINUTE: '1000000',
      PASSTHROUGH_PATHS: '/hangs-the-doors=http://127.0.0.1:9',
      ...env,
    }),
  }
  const stores = await openStores({ ...settings, role: 'server' })
  const base = buildCatalog({ settings, text: undefined })
  let services = buildServiceTable(routes.map(buildRoute))
  const lines: LogLine[] = []
  const logger = pino(
    { base: null, formatters: { level: (level) => ({ level }) } },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  )
  const gateway = await buildApp({
    settings,
    ...stores,
    catalog: () => ({ ...base, services }),
    logger,
  })
  await gateway.app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    gateway.app.server.closeAllConnections()
    await gateway.app.close()
    await stores.close()
  })
  const secret = makeSecret()
  const { id } = await stores.tokens.mint({
    ...{ hash: hashSecret(secret), prefix: 'gw-', type: 'user', user: 'ann', name: '', models: [] },
    creditedMicros: 0,
  })
  const address = gateway.app.server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    token: secret,
    tokenId: id,
    gateway,
    revoke: async () => void (await stores.tokens.revoke(id, Date.now())),
    lines: () => lines,
    setRoutes: (next) => {
      services = buildServiceTable(next.map(buildRoute))
    },
  }
}
