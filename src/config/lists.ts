import { isAddressBlock } from './address-blocks.ts'

/** The entries of a comma list and what is to be said of it, which names an entry by its place. */
export interface ListReading<T> {
  values: T[]
  mistakes: string[]
  warnings: string[]
}

/** What is wrong with an entry, or what its operator should know; without a value it is left out. */
export type Remark<T> = { mistake: string } | { warning: string; value?: T }

/** Reads a comma list entry by entry: each is a value, or a remark in words that follow "NAME entry 1". */
export function readList<T extends string | object>(
  name: string,
  text: string | undefined,
  readEntry: (entry: string) => T | Remark<T>,
): ListReading<T> {
  const reading: ListReading<T> = { values: [], mistakes: [], warnings: [] }
  const entries = (text ?? '').split(',').map((entry) => entry.trim())
  for (const [index, entry] of entries.entries()) {
    if (entry === '') continue
    const found = readEntry(entry)
    const place = `${name} entry ${index + 1}`
    if (!isRemark(found)) reading.values.push(found)
    else if ('mistake' in found) reading.mistakes.push(`${place} ${found.mistake}`)
    else {
      reading.warnings.push(`${place} ${found.warning}`)
      if (found.value !== undefined) reading.values.push(found.value)
    }
  }
  return reading
}

function isRemark<T extends string | object>(found: T | Remark<T>): found is Remark<T> {
  return typeof found === 'object' && ('mistake' in found || 'warning' in found)
}

/** One address or CIDR block whose `X-Forwarded-*` headers are believed. */
export function readTrustedProxy(entry: string): string | { mistake: string } {
  if (/^(true|false|\d+)$/i.test(entry)) {
    return {
      mistake:
        'must be an address: a number of hops or "true" lets any client invent its own. Name your proxy, such as 172.16.0.0/12',
    }
  }
  if (!isAddressBlock(entry))
    return { mistake: 'must be an IP address or a CIDR block, such as 10.0.0.0/8 or fd00::/8' }
  if (/\/0+$/.test(entry)) return { mistake: 'trusts the whole internet: name the block of your own proxy' }
  return entry
}

/** What providers may be told of a client: whose request it is in the operator's traces, and by what it was sent. */
const FORWARDED = ['traceparent', 'tracestate', 'baggage', 'user-agent']

/** One header of a client's that providers may see. */
export function readForwardedHeader(entry: string): string | { mistake: string } {
  const name = entry.toLowerCase()
  return FORWARDED.includes(name) ? name : { mistake: `must be one of ${FORWARDED.join(', ')}` }
}
