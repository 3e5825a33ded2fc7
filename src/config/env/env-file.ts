import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { unwrap } from './env-text.js'

/**
 * Adds what a `.env` file says to an environment that does not say it: an empty value counts as unset. No file: nothing.
 * What others would read in another way is left out, and told line by line.
 */
export function loadEnvFile(path: string, env: Record<string, string | undefined>): string[] {
  if (!existsSync(path)) return []
  const file = loadReader().readDotenv(path, env)
  for (const [name, value] of Object.entries(file?.values ?? {})) if (!env[name]?.trim()) env[name] = value
  return file?.mistakes.map((mistake) => `${path} ${mistake}`) ?? []
}

/** What of the environment is nearly a setting, and none. */
export function findNearNames(env: Readonly<Record<string, string | undefined>>): string[] {
  return loadReader().findNearNames(env)
}

/** The names of all settings come with their words: they are loaded after the start, or for who has such a file. */
function loadReader(): typeof import('./dotenv.js') {
  return createRequire(import.meta.url)('./dotenv.js')
}

/**
 * Whether Node has read `NODE_EXTRA_CA_CERTS` itself; to be asked before a `.env` file is read. In the quotes that
 * `docker run --env-file` hands on, or with a comment, Node finds no such file.
 */
export function isTrustedByNode({
  NODE_EXTRA_CA_CERTS: path = '',
}: Record<string, string | undefined>): boolean {
  return path !== '' && unwrap(path) === path
}

/**
 * Node reads `NODE_EXTRA_CA_CERTS` before a `.env` file is: the certificates of one that stands there join Node's default,
 * which every TLS of this process has.
 */
export function trustCertificates(extra: readonly string[]): void {
  if (extra.length > 0) setDefaultCACertificates([...getCACertificates('default'), ...extra])
}
