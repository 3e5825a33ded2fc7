import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { readSettings, type Settings } from '../../src/config/env.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const NAMES = ['DB_DIR', 'REDIS_URL', 'REDIS_URL_FILE', 'REDIS_PREFIX']

/** Where the tokens are. */
export type Place = Pick<Settings, 'dbDir' | 'redis' | 'redisPrefix' | 'databaseUrl'>

/**
 * The server's own store: relative paths begin at the project, wherever the command is called. Settings beyond `more`
 * may be wrong or secret: they are none of a command's business.
 */
export function readPlace(...more: string[]): Place {
  const envFile = join(ROOT, '.env')
  if (existsSync(envFile)) process.loadEnvFile(envFile)
  const asked = Object.fromEntries([...NAMES, ...more].map((name) => [name, process.env[name]]))
  const { dbDir, redis, redisPrefix, databaseUrl } = readSettings(asked)
  return { dbDir: resolve(ROOT, dbDir), redis, redisPrefix, databaseUrl }
}
