import { startEcho } from '../support/echo.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { startRealtime } from '../support/realtime.ts'
import type { Owner } from '../support/waiting.ts'
import { type FuzzCase, makeCase } from './cases.ts'
import { judge, play } from './play.ts'

const NO_LIMIT = '1000000'
const AT_ONCE = 40

/** A gateway with every kind of door, before providers that are well. */
export async function openFuzzScene(t: Owner) {
  const provider = await startProvider(t, { keepBodies: true })
  const realtime = await startRealtime(t)
  const echo = await startEcho(t)
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, {
      providers: { main: provider.url, sockets: realtime.url },
      models: { m: 'main', rt: 'sockets' },
    }),
    env: {
      ...providerKeys('main', 'sockets'),
      RATE_LIMIT_PER_MINUTE: NO_LIMIT,
      UNAUTHENTICATED_PER_MINUTE: NO_LIMIT,
      WS_SOCKETS_PER_TOKEN: '1000',
      WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws,/open=ws://127.0.0.1:${echo.port}/open!open`,
      PASSTHROUGH_PATHS: `/v1/files=${provider.url}/files`,
      CORS_ALLOWLIST: 'https://app.example',
    },
  })
  const token = await mintToken(t, gateway, { credits: 1_000_000_000 })
  // What nobody looks at must not fill the test's own memory.
  const forget = setInterval(() => provider.requests.splice(0), 1_000)
  t.teardown(() => clearInterval(forget))
  return { gateway, token }
}

export interface Fault {
  index: number
  what: string
  bytes: string
}

/** Plays these cases of a seed, so many at once; returns what went wrong. */
export async function playAll(
  { gateway, token }: Awaited<ReturnType<typeof openFuzzScene>>,
  seed: number,
  indices: Iterator<number>,
): Promise<Fault[]> {
  const faults: Fault[] = []
  const one = async (): Promise<void> => {
    for (let next = indices.next(); !next.done; next = indices.next()) {
      const made = makeCase(seed, next.value, { token })
      const what = judge(made, await play(gateway.port, made))
      if (what !== undefined) faults.push({ index: next.value, what, bytes: show(made, token) })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
  return faults
}

const show = ({ writes, ending }: FuzzCase, token: string): string => {
  const text = Buffer.concat([...writes])
    .toString('latin1')
    .replaceAll(token, '<token>')
  return `${ending}: ${JSON.stringify(text.slice(0, 1_500))}`
}

export function* range(from: number, to: number): Generator<number> {
  for (let index = from; index < to; index += 1) yield index
}
