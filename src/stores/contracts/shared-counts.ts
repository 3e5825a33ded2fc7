/** Requests of a token in its running minute (from its first request on) and its day (UTC), over all replicas. */
export interface SharedCounts {
  /** Counts one more, and says how many there are now and how long the window lasts. Throws `store_unavailable`. */
  count(tokenId: string, window: 'minute' | 'day'): Promise<{ count: number; endsInMs: number }>
}
