import { hash, timingSafeEqual } from 'node:crypto'
import { LEAST_CHARACTERS } from '../config/env/secrets.ts'
import { SettingsError } from '../config/mistakes.ts'

/**
 * Whether a secret is the key of `METRICS_KEY`. It is asked for rarely, so a file is read each time: it may change. While
 * it says what is too short for a key, such as the first half of one, the key from before stays.
 */
export function scraperCheck(readKey: (name: string) => string | undefined): (secret: string) => boolean {
  let known: string | undefined
  return (secret) => {
    const found = readOrNone(readKey)
    if (found === undefined || found.length >= LEAST_CHARACTERS) known = found
    const key = known
    return (
      key !== undefined && timingSafeEqual(hash('sha256', key, 'buffer'), hash('sha256', secret, 'buffer'))
    )
  }
}

/** Whose file cannot be read right now has no key. */
function readOrNone(readKey: (name: string) => string | undefined): string | undefined {
  try {
    return readKey('METRICS_KEY')
  } catch (error) {
    if (error instanceof SettingsError) return undefined
    throw error
  }
}
