import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from 'selfsigned'

/** A server's key and certificate, as `startProvider({ tls })` takes them. */
export interface ServerCertificate {
  key: string
  cert: string
}

/** Certificates of one throw-away authority, good and bad. */
export interface Certificates {
  /** The authority's own certificate: what a client must trust. */
  authority: string
  /** The certificate of localhost and 127.0.0.1. */
  good: ServerCertificate
  /** A certificate of the same authority for another host. */
  wrongName: ServerCertificate
  expired: ServerCertificate
  /** Right name, but nobody vouches for it. */
  selfSigned: ServerCertificate
}

const DAY_MS = 86_400_000
const common = { keyType: 'ec', curve: 'P-256', algorithm: 'sha256' } as const

function named(value: string) {
  return [{ name: 'commonName', value }]
}
function altNames(host: string) {
  return {
    name: 'subjectAltName' as const,
    altNames: [{ type: 2 as const, value: host }, ...(host === 'localhost' ? loopback : [])],
  }
}
const loopback = [{ type: 7 as const, ip: '127.0.0.1' }]

/** Makes an authority and its certificates; a few milliseconds. */
export async function makeCertificates(): Promise<Certificates> {
  const root = await generate(named('Test Authority'), {
    ...common,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  })
  const issue = async (
    host: string,
    rest: Parameters<typeof generate>[1] = {},
  ): Promise<ServerCertificate> => {
    const made = await generate(named(host), { ...common, extensions: [altNames(host)], ...rest })
    return { key: made.private, cert: made.cert }
  }
  const ca = { key: root.private, cert: root.cert }
  const [past, yesterday] = [new Date(Date.now() - 30 * DAY_MS), new Date(Date.now() - DAY_MS)]
  const [good, wrongName, expired, selfSigned] = await Promise.all([
    issue('localhost', { ca }),
    issue('other.example', { ca }),
    issue('localhost', { ca, notBeforeDate: past, notAfterDate: yesterday }),
    issue('localhost'),
  ])
  return { authority: root.cert, good, wrongName, expired, selfSigned }
}

/** Writes the authority's certificate to a file, for a process's `NODE_EXTRA_CA_CERTS`. */
export function authorityFile(folder: string, { authority }: Certificates): string {
  const path = join(folder, 'authority.pem')
  writeFileSync(path, authority)
  return path
}
