import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isTrustedByNode, loadEnvFile, trustCertificates } from '../../src/config/env/env-file.ts'
import { unwrap } from '../../src/config/env/env-text.js'
import { readSettings, type Settings } from '../../src/config/env/settings.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const NAMES = ['DB_DIR', 'REDIS_URL', 'REDIS_URL_FILE', 'REDIS_PREFIX']
const CERTIFICATES = 'NODE_EXTRA_CA_CERTS'
/** Looked for once, before a `.env` adds its `DB_DIR` to the environment, which would be taken for one of the call. */
const FOLDER = findFolder()

/** Where the tokens are. */
export type StoreLocation = Pick<Settings, 'dbDir' | 'redis' | 'redisPrefix' | 'databaseUrl'>

/**
 * The server's own store. Its `.env` and its folders are those of the folder it was started in: this one where there are
 * such, else the project's. Settings beyond `more` may be wrong or secret: they are none of a command's business.
 */
export function readLocation(...more: string[]): StoreLocation {
  const folder = startFolder()
  const isKnownToNode = isTrustedByNode(process.env)
  const ofFile = loadEnvFile(join(folder, '.env'), process.env)
  const asked = Object.fromEntries([...NAMES, ...more].map((name) => [name, process.env[name]]))
  const { dbDir, redis, redisPrefix, databaseUrl } = readSettings(asked, ofFile)
  // Files speak no TLS.
  if (!isKnownToNode && (redis || databaseUrl)) trustFileOf(folder)
  return { dbDir: resolve(folder, dbDir), redis, redisPrefix, databaseUrl }
}

/** The folder that the server is started in, as far as a command can tell. */
export function startFolder(): string {
  return FOLDER
}

function findFolder(): string {
  const isHere = process.env.DB_DIR || ['.env', 'src/db'].some((path) => existsSync(path))
  return isHere ? process.cwd() : ROOT
}

/** The server that is started in this folder trusts them, so its store may need them. */
function trustFileOf(folder: string): void {
  const path = unwrap(process.env[CERTIFICATES] ?? '')
  if (path) trustCertificates(readSettings({ [CERTIFICATES]: resolve(folder, path) }).extraCertificates)
}
