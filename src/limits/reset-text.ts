import { MINUTE_MS } from './windows.ts'

const SECOND_MS = 1000
const HOUR_MS = 60 * MINUTE_MS

/** A duration as OpenAI's clients read it in `x-ratelimit-reset-requests`: `12ms`, `59.2s`, `6m0s`, `3h0m5s`. */
export const writeDuration = (ms: number): string => {
  if (ms <= SECOND_MS - 1) return `${Math.max(0, Math.ceil(ms))}ms`
  const whole = Math.ceil(ms / 100) * 100
  if (whole < MINUTE_MS) return `${whole / SECOND_MS}s`
  const hours = Math.floor(whole / HOUR_MS)
  const minutes = Math.floor((whole % HOUR_MS) / MINUTE_MS)
  const seconds = Math.floor((whole % MINUTE_MS) / SECOND_MS)
  return hours > 0 ? `${hours}h${minutes}m${seconds}s` : `${minutes}m${seconds}s`
}
