import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bearer, type Reply } from '../../support/client.ts'
import { modelsText } from '../../support/models.ts'
import { type FakeProvider, startProvider } from '../../support/provider.ts'
import { ask } from '../../support/scene.ts'
import type { Owner } from '../../support/waiting.ts'
import { type Authority, startAuthority } from './authority.ts'
import {
  ALL_NAMES,
  type Deployment,
  type DeploymentOptions,
  DOMAINS,
  openDeployment,
  settingsOf,
} from './deployment.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS, EDGE_SUBNET, WRONG_ADDRESS } from './engine.ts'
import { output, poll, run } from './shell.ts'
import { type Visitor, visitor } from './visitor.ts'

/** The deployed edge, its authority, the provider behind it and somebody in front of it. */
export interface Edge extends Deployment {
  authority: Authority
  provider: FakeProvider
  guest: Visitor
  mint(): Promise<string>
  /** What the container "certificates" has said of its names. */
  notes(): Promise<string>
  /** A plain chat call by this name. */
  chat(token: string, name?: string): Promise<Reply>
}

export interface EdgeOptions {
  compose?: readonly string[]
  settings?: Record<string, string>
  validitySeconds?: number
  /** Environment of the container "certificates" alone. */
  certificates?: Record<string, string>
  /** The edge's network has these IPv6 addresses too. */
  ipv6?: string
}

/** Adds the addresses to the loopback interface; nothing else of the machine is changed. */
export async function addAddresses(t: Owner): Promise<void> {
  for (const address of [EDGE_ADDRESS, WRONG_ADDRESS, ...CLIENT_ADDRESSES]) {
    await run('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'])
    t.teardown(() => run('ip', ['address', 'del', `${address}/32`, 'dev', 'lo']))
  }
}

/** The override is small: a models file for the gateway, and trust in the test's authority for Traefik, and the test's DNS. */
const overrideFor = ({ certificates = {}, ipv6 }: EdgeOptions): DeploymentOptions['override'] => {
  const models = {
    environment: {
      MODELS_FILE: '/models.yaml',
      MAIN_TEST_KEY: 'key-of-main',
      RATE_LIMIT_PER_MINUTE: '100000',
    },
    volumes: ['./models.yaml:/models.yaml:ro'],
  }
  return {
    services: {
      'api-gateway': models,
      'api-gateway-2': models,
      'api-gateway-3': models,
      certificates: { dns: [EDGE_ADDRESS], environment: certificates },
      traefik: {
        environment: { LEGO_CA_CERTIFICATES: '/acme-server.pem' },
        volumes: ['./acme-server.pem:/acme-server.pem:ro'],
      },
    },
    ...(ipv6 ? { networks: { 'traefik-network': bothFamilies(ipv6) } } : {}),
  }
}

/** Compose 1 takes it in place of the network of the file, not beside it. */
const bothFamilies = (ipv6: string) => ({
  driver: 'bridge',
  enable_ipv6: true,
  ipam: { config: [{ subnet: EDGE_SUBNET }, { subnet: ipv6 }] },
})

/** Everything but `up`. */
export async function openEdge(t: Owner, options: EdgeOptions = {}): Promise<Edge> {
  await addAddresses(t)
  const authority = await startAuthority(t, options.validitySeconds)
  const provider = await startProvider(t, { address: EDGE_ADDRESS })
  const settings = { ...settingsOf(authority.directory), ...options.settings }
  const { compose } = options
  const base = { override: overrideFor(options) ?? {}, settings, ...(compose ? { compose } : {}) }
  const deployment = await openDeployment(t, base)
  writeFileSync(join(deployment.folder, 'acme-server.pem'), authority.certificate)
  const main = { baseUrl: provider.url, keyEnv: 'MAIN_TEST_KEY', allowInsecure: true }
  const models = { m: 'main', 'maker/m': 'main', 'whisper-1': 'main' }
  writeFileSync(join(deployment.folder, 'models.yaml'), modelsText({ providers: { main }, models }))
  const guest = visitor(authority.root)
  const body = ask(false)
  return {
    ...deployment,
    authority,
    provider,
    guest,
    mint: () =>
      deployment.compose(
        'exec -T api-gateway node scripts/token-gen.js --type user --userName testuser --token 10000000',
      ),
    notes: () => output('docker', ['logs', 'certificates-prod']),
    chat: (token, name = DOMAINS[0] ?? '') =>
      guest.ask(name, { method: 'POST', path: '/v1/chat/completions', headers: bearer(token), body }),
  }
}

/** Serial numbers by name, once all these names have their certificate. */
export const untilCertified = (guest: Visitor, names: readonly string[] = ALL_NAMES, timeoutMs = 90_000) =>
  poll(
    `certificates for ${names.join(', ')}`,
    async () => {
      const shown = await Promise.all(names.map((name) => guest.certificate(name)))
      const serials = shown.map((certificate) => certificate?.serialNumber)
      return serials.every((serial) => serial !== undefined) ? serials : undefined
    },
    { timeoutMs },
  )

/** Until a token's call is answered by the provider. */
export const untilServing = (edge: Edge, token: string) =>
  poll('an answer through the edge', async () => {
    const reply = await edge.chat(token).catch(() => undefined)
    return reply?.status === 200 ? reply : undefined
  })

/** One field of `docker inspect`, as JSON. */
export const inspect = async (container: string, field: string): Promise<unknown> =>
  JSON.parse(await output('docker', ['inspect', '-f', `{{json ${field}}}`, container]))
