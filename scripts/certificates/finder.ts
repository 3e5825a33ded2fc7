import { BlockList, isIPv6 } from 'node:net'
import { findRecords } from '../preflight/network.js'
import { type Family, type Found, familyOf, type Reached } from './judgement.ts'
import { findAtSource, type Where } from './records.ts'
import type { SelfCheck } from './self-check.ts'

const HTTPS_PORT = 443

export interface Finder {
  find(name: string): Promise<Found>
  /** Families over which an address has led here. */
  reachedItselfOver: ReadonlySet<Family>
}

/** Finds where each address of a name leads; which addresses are the server's own may be known before (EDGE_ADDRESSES). */
export function createFinder(known: readonly string[], check: SelfCheck, where: Where = {}): Finder {
  const own = new BlockList()
  for (const address of known) own.addAddress(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  const reachedItselfOver = new Set<Family>()
  const reach = async (address: string): Promise<Reached> => {
    if (known.length > 0) return own.check(address, isIPv6(address) ? 'ipv6' : 'ipv4') ? 'here' : 'elsewhere'
    const reached = await check.reach(address, HTTPS_PORT)
    if (reached === 'here') reachedItselfOver.add(familyOf(address))
    return reached
  }
  const reachAll = (addresses: readonly string[]) =>
    Promise.all(addresses.map(async (address) => ({ address, reached: await reach(address) })))
  const find = async (name: string): Promise<Found> => {
    const { found, failure } = await findRecords(name, where.resolver)
    const addresses = await reachAll(found)
    if (addresses.length > 0 && addresses.every(({ reached }) => reached === 'here')) return { addresses }
    const newer = await findAtSource(name, where)
    if (newer.length > 0) return { addresses: await reachAll(newer) }
    return { addresses, ...(failure === undefined ? {} : { failure }) }
  }
  return { find, reachedItselfOver }
}
