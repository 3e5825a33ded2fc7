import { isIPv6 } from 'node:net'

/** Whether a connection to an address on port 443 ends in this very edge; silent: nothing came back. */
export type Reached = 'here' | 'elsewhere' | 'silent'

/** What DNS says of a name, and where each address leads. */
export interface Found {
  addresses: readonly { address: string; reached: Reached }[]
  /** Why the DNS server gave no answer. */
  failure?: string
}

/** What it means for an order; `addresses` are those that stand in the way. */
export type Judgement =
  | { is: 'here' }
  /** Some addresses lead here, the others cannot be asked from this server: IPv6 in a network without it. */
  | { is: 'partly'; addresses: readonly string[] }
  /** No address answers, and none ever has: this server may be unable to reach itself from inside (NAT). */
  | { is: 'unknown'; addresses: readonly string[] }
  | { is: 'elsewhere'; addresses: readonly string[] }
  | { is: 'missing' }
  | { is: 'unanswered'; failure: string }

export type Family = 4 | 6

export function familyOf(address: string): Family {
  return isIPv6(address) ? 6 : 4
}

/**
 * One address that leads elsewhere is enough for the authority to ask there. Silence counts as elsewhere once this server
 * has reached itself over the same family: then it can, and that address is not its own.
 */
export function judge(found: Found, reachedItselfOver: ReadonlySet<Family>): Judgement {
  if (found.failure !== undefined) return { is: 'unanswered', failure: found.failure }
  if (found.addresses.length === 0) return { is: 'missing' }
  const isElsewhere = ({ address, reached }: Found['addresses'][number]) =>
    reached === 'elsewhere' || (reached === 'silent' && reachedItselfOver.has(familyOf(address)))
  const elsewhere = found.addresses.filter(isElsewhere).map(({ address }) => address)
  if (elsewhere.length > 0) return { is: 'elsewhere', addresses: elsewhere }
  const silent = found.addresses.filter(({ reached }) => reached === 'silent').map(({ address }) => address)
  if (silent.length === 0) return { is: 'here' }
  return { is: silent.length < found.addresses.length ? 'partly' : 'unknown', addresses: silent }
}

/** A line for the operator: what is the matter, and what to do. */
export function describe(judgement: Judgement): string {
  switch (judgement.is) {
    case 'here':
      return 'its DNS points to this server'
    case 'partly':
      return `its DNS points to this server, and to ${judgement.addresses.join(', ')}, which cannot be asked from here: if no certificate comes, remove that record or name it in EDGE_ADDRESSES`
    case 'unknown':
      return `${judgement.addresses.join(', ')} does not answer from here: if that is this server (behind NAT), put it into EDGE_ADDRESSES in .env; else correct the DNS record. Ordered now and then all the same`
    case 'elsewhere':
      return `points to ${judgement.addresses.join(', ')}, which is not this server: correct the DNS record. It is looked at again by itself`
    case 'missing':
      return 'has no DNS record: make an A record with the address of this server. It is looked at again by itself'
    case 'unanswered':
      return `the DNS server gave no answer (${judgement.failure}). It is asked again by itself`
  }
}
