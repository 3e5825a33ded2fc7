import { existsSync, readFileSync } from 'node:fs'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { parseEnv } from 'node:util'

/** Adds what a `.env` file says to an environment that does not say it: an empty value counts as unset. No file: nothing. */
export function loadEnvFile(path: string, env: Record<string, string | undefined>): void {
  if (!existsSync(path)) return
  for (const [name, value] of Object.entries(parseEnv(readFileSync(path, 'utf8'))))
    if (!env[name]) env[name] = value
}

/**
 * Node reads `NODE_EXTRA_CA_CERTS` before a `.env` file is: the certificates of one that stands there join Node's default,
 * which every TLS of this process has.
 */
export function trustCertificates(extra: readonly string[]): void {
  if (extra.length > 0) setDefaultCACertificates([...getCACertificates('default'), ...extra])
}
