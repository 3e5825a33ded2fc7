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
  /**
   * Counts one more, and says how many there are now and how long the window lasts. Throws `store_unavailable`.
   * Undefined: this process is alone by now, and counts by itself.
   */
  count(tokenId: string, window: 'minute' | 'day'): Promise<TokenCount | undefined> | undefined
  /** The minutes that ran elsewhere when this process became alone. */
  carried?(): readonly MinuteCount[]
}

export interface TokenCount {
  count: number
  endsInMs: number
}

export interface MinuteCount extends TokenCount {
  tokenId: string
}

/** What a server counts for itself, and for its successors as long as it has the files. */
export interface OwnCounts {
  count(tokenId: string, window: 'minute' | 'day'): TokenCount
  minutes(): readonly MinuteCount[]
}

/** What one server alone has counted today, for the next one. */
export interface DayCounts {
  /** By token, what stands for this day (days since 1970, UTC). */
  read(day: number): ReadonlyMap<string, number>
  /** Takes the place of what stood for these tokens; false: it cannot be written just now. Durable within a second. */
  write(day: number, counts: ReadonlyMap<string, number>): boolean
}

/**
 * What stands before the keys of a route's callers: no token's id begins so. There may be any number of them, so a store
 * that is full refuses to count them (`store_unavailable`), while tokens' requests are counted still.
 */
export const ROUTE_KEY = 'route '
