import { BlockList, isIP } from 'node:net'

/** Whether an address is in one of the blocks. */
export type AddressCheck = (address: string) => boolean

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

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
    // A socket that listens for both families shows IPv4 clients like this.
    const plain = MAPPED.exec(address)?.[1] ?? address
    return isIP(plain) !== 0 && list.check(plain, familyOf(plain))
  }
}

/** Whether `text` is an IP address or a CIDR block. */
export function isAddressBlock(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = address.includes('%') ? 0 : isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}
