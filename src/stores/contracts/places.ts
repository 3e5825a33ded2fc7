/** A token's running request, counted against its `requestsInFlight`. */
export interface Place {
  /** Unique among all that run. */
  id: string
  tokenId: string
}

/** The requests that run at this moment. */
export interface Places {
  /** One of `most` places for a running request of the token, in one step; undefined: all are taken. */
  enter(tokenId: string, most: number): Promise<Place | undefined>
  /** Frees the place; twice is once. Never throws: a place that cannot be freed dies with its owner. */
  leave(place: Place): void
}

/** Requests of a token in its running minute (from its first request on) and its day (UTC), over all replicas. */
export interface SharedCounts {
  /** Counts one more, and says how many there are now and how long the window lasts. Throws `store_unavailable`. */
  count(tokenId: string, window: 'minute' | 'day'): Promise<{ count: number; endsInMs: number }>
}
