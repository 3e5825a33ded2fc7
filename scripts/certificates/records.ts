import { Resolver } from 'node:dns/promises'
import { findRecords } from '../preflight/network.js'

const [ANSWER_MS, MOST_SERVERS] = [2000, 2]

/** Where to ask; unless named, this machine's resolver, and port 53 of the others. */
export interface Where {
  resolver?: string
  port?: number
}

/**
 * What the name servers of the name's own zone say, past every cache on the way: an authority asks them too, and after a
 * correction caches hold the old record, or its absence, for up to hours. Empty where they cannot be asked, or send on
 * to another zone.
 */
export async function findAtSource(
  name: string,
  { resolver: server, port = 53 }: Where = {},
): Promise<string[]> {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: 2 })
  if (server) resolver.setServers([server])
  for (const host of (await findServers(resolver, name)).slice(0, MOST_SERVERS)) {
    const [address] = await resolver.resolve4(host).catch(() => [])
    if (address === undefined) continue
    const { found } = await findRecords(name, `${address}:${port}`)
    if (found.length > 0) return found
  }
  return []
}

/** The name servers of the nearest zone above; a top-level domain is nobody's own. */
async function findServers(resolver: Resolver, name: string): Promise<string[]> {
  const labels = name.split('.')
  for (let first = 0; first < labels.length - 1; first++) {
    const hosts = await resolver.resolveNs(labels.slice(first).join('.')).catch(() => [])
    if (hosts.length > 0) return hosts
  }
  return []
}
