import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { readDotenv } from './dotenv.js'

/**
 * Adds what a `.env` file says to an environment that does not say it: an empty value counts as unset. No file: nothing.
 * What others would read in another way is left out, and told line by line.
 */
export function loadEnvFile(path: string, env: Record<string, string | undefined>): string[] {
  const file = readDotenv(path, env)
  for (const [name, value] of Object.entries(file?.values ?? {})) if (!env[name]?.trim()) env[name] = value
  return file?.mistakes.map((mistake) => `${path} ${mistake}`) ?? []
}

/**
 * Node reads `NODE_EXTRA_CA_CERTS` before a `.env` file is: the certificates of one that stands there join Node's default,
 * which every TLS of this process has.
 */
export function trustCertificates(extra: readonly string[]): void {
  if (extra.length > 0) setDefaultCACertificates([...getCACertificates('default'), ...extra])
}
