import type { IncomingHttpHeaders } from 'node:http'
import type { Catalog, Provider } from '../config/catalog/catalog.ts'
import type { ServiceRoute, ServiceTarget } from '../config/catalog/service-routes.ts'
import { copyDownward, dialectOfProvider, type UpstreamHeaders } from '../dialects/headers.ts'
import { createKeyMask, ErrorMask, type KeyMask, maskHeaders } from '../upstream/key-mask.ts'
import { findValue } from './heads/answer-head.ts'

/** The provider that a route names: undefined when the catalog has it no more. */
function findProvider(route: Pick<ServiceRoute, 'provider'>, { providers }: Catalog) {
  if (route.provider === undefined) return undefined
  const [first] = providers.values()
  return route.provider === '' ? first : providers.get(route.provider)
}

const NOTHING: Buffer = Buffer.alloc(0)

/** One request to a provider as it is, unmetered: both heads from zero, neither its key nor its failures as they came. */
export class ProviderWay {
  readonly place: ServiceTarget
  readonly #provider: Provider
  readonly #key: KeyMask | undefined
  #mask: KeyMask | ErrorMask | undefined

  constructor(provider: Provider) {
    this.#provider = provider
    this.place = { origin: provider.origin, basePath: provider.basePath }
    this.#key = createKeyMask(provider.key)
  }

  /** Path and query as the provider has them: its base URL ends in the `/v1` that ours begins with. */
  path(url: string): string {
    return this.place.basePath + (url.startsWith('/v1/') ? url.slice('/v1'.length) : url)
  }

  requestHead(client: IncomingHttpHeaders, upstreamHeaders: UpstreamHeaders): string[] {
    const head = upstreamHeaders(client, this.#provider, dialectOfProvider(this.#provider))
    // Nobody reads the body here: it passes in whatever coding it came in.
    const coding = client['content-encoding']
    if (typeof coding === 'string') head.push('content-encoding', coding)
    return head
  }

  /** A body's length passes too: a client that waits for 300 MiB may see how far it is. */
  answerHead(status: number, answer: readonly string[], own: { [name: string]: unknown }): string[] {
    const found: Record<string, string> = {}
    for (let at = 0; at < answer.length; at += 2) {
      const name = (answer[at] ?? '').toLowerCase()
      found[name] ??= answer[at + 1] ?? ''
    }
    const passed: Record<string, string> = {}
    copyDownward(found, passed)
    const length = found['content-length']
    if (length !== undefined && status !== 204) passed['content-length'] = length
    const coding = findValue(answer, 'content-encoding')
    const refusal = status >= 400 ? new ErrorMask(this.#key, coding, this.place.origin) : undefined
    this.#mask = refusal ?? this.#key
    const seen = maskHeaders(refusal?.headers(passed) ?? passed, this.#key)
    return Object.entries({ ...own, ...seen }).flatMap(([name, value]) => [name, String(value)])
  }

  /** What of these bytes may leave now. */
  pass(bytes: Buffer): Buffer {
    return this.#mask ? this.#mask.pass(bytes) : bytes
  }

  rest(): Buffer {
    return this.#mask ? this.#mask.rest() : NOTHING
  }
}

/** Undefined: the route leads to targets of its own. */
export function openProviderWay(route: ServiceRoute, catalog: Catalog): ProviderWay | undefined {
  const provider = findProvider(route, catalog)
  return provider && new ProviderWay(provider)
}
