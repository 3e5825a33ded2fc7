import { join } from 'node:path'
import pino from 'pino'
import { buildApp, type Gateway } from '../../src/app.ts'
import { hashSecret, makeSecret } from '../../src/auth/client.ts'
import { buildCatalog } from '../../src/config/catalog/models-file.ts'
import { buildRoute, type SaidRoute } from '../../src/config/catalog/service-row.ts'
import { buildServiceTable } from '../../src/config/catalog/service-table.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import type { NewToken } from '../../src/stores/contracts/tokens.ts'
import { openStores, type Stores } from '../../src/stores/open.ts'
import { type LogLine, temporaryFolder } from './gateway.ts'
import { createWaiting, type Owner } from './waiting.ts'

/** The whole app in the test's own process, with a table of services that the test says. */
export interface ServiceGateway {
  url: string
  port: number
  /** A token that may call every service. */
  token: string
  tokenId: string
  /** Another token's secret. */
  mint(wish?: Partial<NewToken>): Promise<string>
  tokens: Stores['tokens']
  gateway: Gateway
  revoke(): Promise<void>
  /** The log so far. */
  lines(): LogLine[]
  /** The line of a request, when it is over: the next one of this route. */
  lineOf(route: string): Promise<LogLine>
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
  const taken = new Set<LogLine>()
  const waiting = createWaiting()
  const logger = pino(
    { base: null, formatters: { level: (level) => ({ level }) } },
    {
      write: (line: string) => {
        lines.push(JSON.parse(line))
        waiting.check()
      },
    },
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
  const mint = async (wish: Partial<NewToken> = {}) => {
    const secret = makeSecret()
    const { id } = await stores.tokens.mint({
      ...{ hash: hashSecret(secret), prefix: 'gw-', type: 'user', user: 'ann', name: '', models: [] },
      creditedMicros: 0,
      ...wish,
    })
    return { secret, id }
  }
  const { secret, id } = await mint()
  const address = gateway.app.server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    token: secret,
    tokenId: id,
    mint: async (wish) => (await mint(wish)).secret,
    tokens: stores.tokens,
    gateway,
    revoke: async () => void (await stores.tokens.revoke(id, Date.now())),
    lines: () => lines,
    async lineOf(route) {
      const isNext = (line: LogLine): boolean =>
        line.msg === 'request' && line.route === route && !taken.has(line)
      const line = await waiting.until('the line of a request', () => lines.find(isNext))
      taken.add(line)
      return line
    },
    setRoutes: (next) => {
      services = buildServiceTable(next.map(buildRoute))
    },
  }
}
