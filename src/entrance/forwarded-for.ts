import type { IncomingMessage } from 'node:http'
import { type AddressCheck, plainAddress } from '../config/address-blocks.ts'

const V4_PORT = /^(\d+\.\d+\.\d+\.\d+):\d{1,5}$/
const BRACKETS = /^\[([^\]]+)\](?::\d{1,5})?$/
/** Longer than any address with a zone and a port. */
const MOST_CHARACTERS = 100

/** One part of the list: proxies write a port behind the address, brackets and quotes around it; undefined: no address. */
function readPart(part: string): string | undefined {
  if (part.length > MOST_CHARACTERS) return undefined
  const bare = part.length > 1 && part.startsWith('"') && part.endsWith('"') ? part.slice(1, -1) : part
  return plainAddress(V4_PORT.exec(bare)?.[1] ?? BRACKETS.exec(bare)?.[1] ?? bare)
}

/**
 * The address of the client: from the right, past every proxy that is trusted. What a proxy of ours could not name
 * (`unknown`, `_hidden`) is nobody's address: the proxy's own stands for it, and nothing to the left of it is believed,
 * since whoever sent it may have written it.
 */
function findClient(proxy: string, list: string, isTrusted: AddressCheck): string {
  let address = proxy
  let rest = list
  for (;;) {
    const comma = rest.lastIndexOf(',')
    const part = rest.slice(comma + 1).trim()
    // Lists of HTTP may have empty parts, which mean nothing.
    if (part !== '') {
      const read = readPart(part)
      if (read === undefined) return address
      address = read
      if (!isTrusted(read)) return address
    }
    if (comma < 0) return address
    rest = rest.slice(0, comma)
  }
}

/** Before Fastify reads it: of the list in `X-Forwarded-For`, which anybody may begin, the client's address alone is left. */
export function keepClientAlone(
  { headers, socket }: Pick<IncomingMessage, 'headers' | 'socket'>,
  isTrusted: AddressCheck,
): void {
  const list = headers['x-forwarded-for']
  const proxy = socket.remoteAddress
  if (list === undefined || proxy === undefined || !isTrusted(proxy)) return
  const text = typeof list === 'string' ? list : list.join(',')
  headers['x-forwarded-for'] = findClient(plainAddress(proxy) ?? proxy, text, isTrusted)
}
