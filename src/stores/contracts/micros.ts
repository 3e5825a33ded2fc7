/** Refuses what is no whole number of micro-credits: beyond 2^53 numbers are no longer exact. */
export function checkMicros(name: string, micros: number): void {
  if (Number.isSafeInteger(micros) && micros >= 0) return
  throw new RangeError(`${name} must be a whole number of micro-credits, not ${micros}`)
}
