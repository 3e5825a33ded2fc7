import { isIP } from 'node:net'
import { hostnames } from '../preflight/settings.js'

/** What docker-compose.prod.yml hands on. */
export interface Settings {
  names: readonly string[]
  /** The server's public addresses, where it cannot find out by itself. */
  addresses: readonly string[]
  isChecked: boolean
  authority: string
  retryMs: number
}

const RETRY_SECONDS = 120

/** Throws one message for all mistakes. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const addresses = (env.EDGE_ADDRESSES ?? '')
    .split(',')
    .map((text) => text.trim())
    .filter(Boolean)
  const wrong = addresses.filter((address) => isIP(address) === 0)
  const check = env.EDGE_DNS_CHECK || 'on'
  const mistakes = wrong.map((address) => `EDGE_ADDRESSES: ${address} is no IP address`)
  if (check !== 'on' && check !== 'off') mistakes.push(`EDGE_DNS_CHECK is on or off, not ${check}`)
  if (mistakes.length > 0) throw new Error(mistakes.join('; '))
  return {
    names: [
      ...new Set(
        hostnames(Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? '']))),
      ),
    ],
    addresses,
    isChecked: check === 'on',
    authority: env.ACME_CA_SERVER ?? '',
    retryMs: Number(env.CERTIFICATE_RETRY_SECONDS || RETRY_SECONDS) * 1000,
  }
}
