import { existsSync, readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'

/** Adds what a `.env` file says to an environment that does not say it: an empty value counts as unset. No file: nothing. */
export function loadEnvFile(path: string, env: Record<string, string | undefined>): void {
  if (!existsSync(path)) return
  for (const [name, value] of Object.entries(parseEnv(readFileSync(path, 'utf8'))))
    if (!env[name]) env[name] = value
}
