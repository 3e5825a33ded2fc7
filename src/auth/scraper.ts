import { hash, timingSafeEqual } from 'node:crypto'
import { SettingsError } from '../config/mistakes.ts'

export const METRICS_KEY = 'METRICS_KEY'

/** Whether a secret is the key of `METRICS_KEY`. It is asked for rarely, so a file is read each time: it may change. */
export function scraperCheck(readKey: (name: string) => string | undefined): (secret: string) => boolean {
  return (secret) => {
    const key = readOrNone(readKey)
    return (
      key !== undefined && timingSafeEqual(hash('sha256', key, 'buffer'), hash('sha256', secret, 'buffer'))
    )
  }
}

/** Whose file cannot be read right now has no key. */
function readOrNone(readKey: (name: string) => string | undefined): string | undefined {
  try {
    return readKey(METRICS_KEY)
  } catch (error) {
    if (error instanceof SettingsError) return undefined
    throw error
  }
}
