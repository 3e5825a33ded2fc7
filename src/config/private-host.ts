import { buildAddressCheck } from './address-blocks.ts'

/** RFC 1918, 6598, 3927, 4193, 4291 and what is this machine's own. */
const isPrivateAddress = buildAddressCheck([
  ...['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '169.254.0.0/16', '127.0.0.0/8'],
  ...['::1', 'fc00::/7', 'fe80::/10'],
])

/** Names that the internet has none of: RFC 6761, 6762, 8375, ICANN's `internal`, and what clusters and routers use. */
const PRIVATE_ENDS =
  /\.(localhost|local|internal|intranet|lan|corp|home|private|test|example|invalid|localdomain|home\.arpa|svc|consul|docker)$/

/** Whether a host is one of a network of the operator's: what goes there over plain HTTP, nobody else reads. */
export function isPrivateHost(hostname: string): boolean {
  const host = hostname
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
  if (/^[\d.]+$|:/.test(host)) return isPrivateAddress(host)
  // A name without a dot is a container's, a service's or a machine's.
  return !host.includes('.') || PRIVATE_ENDS.test(host)
}
