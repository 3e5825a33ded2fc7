import { BlockList, isIP } from 'node:net'

/** Whether an address is in one of the blocks. */
export type AddressCheck = (address: string) => boolean

/** As `URL` writes an IPv4 address that stands in an IPv6 one. */
const MAPPED = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/

/** An address as it is compared and counted: IPv4 plain, IPv6 shortest and without a zone; undefined: it is none. */
export function plainAddress(text: string): string | undefined {
  if (!text.includes(':')) return isIP(text) === 4 ? text : undefined
  const [address = ''] = text.split('%', 1)
  if (isIP(address) !== 6) return undefined
  const short = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [, high, low] = MAPPED.exec(short) ?? []
  if (high === undefined || low === undefined) return short
  // A socket that listens for both families shows IPv4 clients like this.
  const bits = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16)
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.')
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}

/** Reads addresses and CIDR blocks such as `10.0.0.0/8` and `2001:db8::1`. */
export function buildAddressCheck(blocks: readonly string[]): AddressCheck {
  const list = new BlockList()
  for (const block of blocks) {
    const [address = '', bits] = block.split('/')
    if (bits === undefined) list.addAddress(address, familyOf(address))
    else list.addSubnet(address, Number(bits), familyOf(address))
  }
  return (address) => {
    const plain = plainAddress(address)
    return plain !== undefined && list.check(plain, familyOf(plain))
  }
}

/** Whether `text` is an IP address or a CIDR block. */
export function isAddressBlock(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = address.includes('%') ? 0 : isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}
