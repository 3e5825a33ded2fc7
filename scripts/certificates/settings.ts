import { isIP } from 'node:net'
import { edgeAddresses } from '../preflight/edge.js'
import { hostnames } from '../preflight/settings.js'

/** What docker-compose.prod.yml hands on. */
export interface Settings {
  names: readonly string[]
  /** Settings whose value cannot be a name; they do not keep the others from theirs. */
  noNames: readonly string[]
  /** The server's public addresses, where it cannot find out by itself. */
  addresses: readonly string[]
  isChecked: boolean
  /** Else all certificates are the operator's own. */
  isOrdered: boolean
  authority: string
  retryMs: number
}

const RETRY_SECONDS = 120

/** Throws one message for all mistakes. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  // Names are the same in any case, and Traefik lowers them too.
  const given = Object.fromEntries(
    Object.entries(env).map(([name, value = '']) => [
      name,
      name.startsWith('DOMAIN') ? value.trim().toLowerCase() : value,
    ]),
  )
  const addresses = edgeAddresses(given)
  const wrong = addresses.filter((address) => isIP(address) === 0)
  const check = env.EDGE_DNS_CHECK || 'on'
  const mistakes = wrong.map((address) => `EDGE_ADDRESSES: ${address} is no IP address`)
  if (check !== 'on' && check !== 'off') mistakes.push(`EDGE_DNS_CHECK is on or off, not ${check}`)
  if (mistakes.length > 0) throw new Error(mistakes.join('; '))
  return {
    names: [...new Set(hostnames(given))],
    noNames: Object.keys(given).filter(
      (name) => /^DOMAIN\d$/.test(name) && given[name] && !hostnames(given).includes(given[name]),
    ),
    addresses,
    isChecked: check === 'on',
    isOrdered: env.ACME_CHALLENGE !== 'off',
    authority: env.ACME_CA_SERVER ?? '',
    retryMs: Number(env.CERTIFICATE_RETRY_SECONDS || RETRY_SECONDS) * 1000,
  }
}
