import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashSecret, makeSecret, prefixOf } from '../src/auth/client.ts'
import { openStores } from '../src/stores/open.ts'

const MANY = 1_000_000_000

export interface Prepared {
  tokenCount?: number | undefined
  /** So many routes of services; undefined: no section of them, as older checkouts know none. */
  serviceCount?: number | undefined
}

/** A data directory with tokens, a models file and the settings of a gateway before `upstreamPort`. */
export async function prepareGateway(upstreamPort: number, { tokenCount = 1, serviceCount }: Prepared = {}) {
  const cwd = mkdtempSync(join(tmpdir(), 'gw-bench-'))
  const dbDir = join(cwd, 'db')
  const models = join(cwd, 'models.json')
  writeFileSync(models, modelsText(upstreamPort, serviceCount))
  const secrets = await mintTokens(dbDir, tokenCount)
  const env = {
    HOST: '127.0.0.1',
    ADMIN_FIRST: 'bench-master-token-of-32-letters',
    DB_DIR: dbDir,
    LOG_DIR: join(cwd, 'logs'),
    MODELS_FILE: models,
    UP_KEY: 'key-of-the-upstream',
    WS_ROUTES: `/ws=ws://127.0.0.1:${upstreamPort}/ws`,
    WS_SOCKETS_PER_TOKEN: '10000',
  }
  return { cwd, env, secret: secrets[0] ?? '' }
}

/** All names are as long as the one that is asked for, so that nothing but their number differs. */
function servicePath(index: number) {
  return `/service-${101 + index}`
}

export const SERVICE_PATH = `${servicePath(1)}/orders/42?expand=lines`

function servicesOf(upstreamPort: number, count: number) {
  const row = { to: `http://127.0.0.1:${upstreamPort}`, limits: { perMinute: MANY } }
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [servicePath(index), row]))
}

function modelsText(upstreamPort: number, serviceCount: number | undefined) {
  return JSON.stringify({
    ...(serviceCount === undefined ? {} : { services: servicesOf(upstreamPort, serviceCount) }),
    providers: { up: { baseUrl: `http://127.0.0.1:${upstreamPort}/v1`, keyEnv: 'UP_KEY' } },
    models: {
      renamed: { plan: [{ provider: 'up', model: 'bench-with-another-name' }] },
      '*': { plan: [{ provider: 'up' }] },
    },
  })
}

async function mintTokens(dbDir: string, count: number): Promise<string[]> {
  const stores = await openStores({ dbDir })
  const secrets = Array.from({ length: count }, makeSecret)
  await Promise.all(
    secrets.map((secret, index) =>
      stores.tokens.mint({
        hash: hashSecret(secret),
        prefix: prefixOf(secret),
        type: 'user',
        user: `bench${index}`,
        name: '',
        models: [],
        creditedMicros: 10 ** 15,
        requestsPerMinute: MANY,
        requestsPerDay: MANY,
      }),
    ),
  )
  await stores.close()
  return secrets
}
